/**
 * Copies of frozen weights in the order in which fused products read them (FusedPack in
 * src/tensor/native/fused-products.cc). A compiled function that reads such a copy need not put the
 * weight in that order each time. The results have the same bits.
 */
import { type Binding, execute } from './functions.ts';
import type { AttributeValue } from './rules.ts';
import { MADE, type Operation, type TensorData } from './trace.ts';

/** How a weight W is read: by x·Wᵀ or by x·W, and whether it is rounded to bfloat16. */
export interface Packing {
  readonly transposed: boolean;
  readonly bf16: boolean;
}

/** The layers that can read a packed W: which input it is, and whether they compute x·Wᵀ. */
const LAYERS = new Map([
  ['FusedLinear', { input: 1, transposed: true }],
  ['FusedLora', { input: 1, transposed: true }],
  ['FusedLoraBias', { input: 1, transposed: true }],
  ['FusedLoraGrad', { input: 2, transposed: false }],
]);

const isSet = ({ attributes }: Operation, wanted: string): boolean =>
  attributes.some(({ name, value }) => name === wanted && value === true);

/**
 * Returns the weight of an operation that can be packed, as the number of its source: one that does
 * not change, and that TensorFlow holds already. Null where there is none.
 */
export function packable(operation: Operation): { source: number; packing: Packing } | null {
  const layer = LAYERS.get(operation.name);
  if (layer === undefined || !isSet(operation, 'frozen')) return null;
  const reference = operation.inputs[layer.input] ?? 0,
    type = operation.types[layer.input] ?? MADE;
  if (reference >= 0 || (type & MADE) !== 0) return null;
  return {
    source: -1 - reference,
    packing: { transposed: layer.transposed, bf16: isSet(operation, 'bf16') },
  };
}

/** The operation with `weight` in place of its W, which is packed. */
export const withPacked = <T>(
  { name, attributes }: Operation,
  inputs: readonly T[],
  weight: T,
): { readonly attributes: AttributeValue[]; readonly inputs: T[] } => ({
  attributes: attributes.map((one) => (one.name === 'packed' ? { ...one, value: true } : one)),
  inputs: inputs.map((input, i) => (i === LAYERS.get(name)?.input ? weight : input)),
});

/**
 * The limit on the bytes of all copies. Large weights gain little from them, since their products
 * take many times as long as putting them in order does.
 */
export const PACKED_BYTES = 2 ** 28;

const keyOf = ({ transposed, bf16 }: Packing): number => (transposed ? 1 : 0) + (bf16 ? 2 : 0);

const bytesOf = ({ shape }: TensorData, { bf16 }: Packing): number =>
  shape.reduce((a, b) => a * b, bf16 ? 2 : 4);

/** The copies, each kept for as long as the weight that it is of. */
export class Packs {
  readonly #made = new Map<TensorData, Map<number, TensorData>>();
  #bytes = 0;

  constructor(private readonly binding: Binding) {}

  /** The number of weights that have copies. */
  get size(): number {
    return this.#made.size;
  }

  /** Returns which of these copies exist, or can be made within the limit. */
  fitting(wanted: readonly { readonly data: TensorData; readonly packing: Packing }[]): boolean[] {
    let bytes = this.#bytes;
    return wanted.map(({ data, packing }) => {
      if (this.#made.get(data)?.has(keyOf(packing)) === true) return true;
      if (bytes + bytesOf(data, packing) > PACKED_BYTES) return false;
      bytes += bytesOf(data, packing);
      return true;
    });
  }

  /** Returns a copy of a tensor that TensorFlow holds. */
  of(data: TensorData, packing: Packing): TensorData {
    const copies = this.#made.get(data) ?? new Map<number, TensorData>(),
      known = copies.get(keyOf(packing));
    if (known !== undefined) return known;
    const flag = (name: string, value: boolean): AttributeValue => ({
      name,
      type: this.binding.TF_ATTR_BOOL,
      value,
    });
    const attributes = [
      flag('transpose_a', false),
      flag('transpose_b', packing.transposed),
      flag('bf16', packing.bf16),
    ];
    const [result] = execute(this.binding, 'FusedPack', attributes, [data.id], [data.dtype], 1);
    if (result === undefined) throw new Error('packing a weight returned nothing');
    const made: TensorData = { ...result, values: null, refCount: 1 };
    this.#made.set(data, copies.set(keyOf(packing), made));
    this.#bytes += bytesOf(data, packing);
    return made;
  }

  /** Says that a tensor is no longer used. */
  drop(data: TensorData): void {
    const copies = this.#made.get(data);
    if (copies === undefined) return;
    this.#made.delete(data);
    for (const [key, { id }] of copies) {
      this.binding.deleteTensor(id);
      this.#bytes -= bytesOf(data, { transposed: false, bf16: key >= 2 });
    }
  }
}

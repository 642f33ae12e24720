/**
 * Matrix products in bfloat16, a float32 with 8 instead of 24 bits of significand. Fused products
 * round both factors and leave the sum of their products in float32. TensorFlow's own take factors
 * in bfloat16, sum their products in float32 and round the result to bfloat16, which becomes a
 * float32 again: the products of torch.autocast with dtype=torch.bfloat16.
 */
import { type Binding, execute } from './functions.ts';
import type { AttributeValue } from './rules.ts';
import { MADE, type Operation, OUTPUTS, type Reference, type TensorData } from './trace.ts';

/** What matrix products are computed in. Everything else is float32 in either case. */
export type Precision = 'float32' | 'bf16';

/** TF_FLOAT and TF_BFLOAT16 of tensorflow/c/tf_datatype.h. */
const FLOAT = 1,
  BFLOAT16 = 14;

/** TensorFlow's products, and the attribute that holds the type of their factors. */
const PRODUCTS = new Set(['MatMul', 'BatchMatMulV2']),
  TYPE = 'T';

const typeOf = ({ attributes }: Operation): AttributeValue | undefined =>
  attributes.find(({ name }) => name === TYPE);

/** Whether an operation is to be computed in bfloat16. */
const isLowered = (operation: Operation): boolean =>
  operation.precision === 'bf16' &&
  PRODUCTS.has(operation.name) &&
  typeOf(operation)?.value === FLOAT;

/** The attribute of fused products that has them round their factors to bfloat16. */
const FUSED_BF16 = 'bf16';

/** Whether an operation is a fused product of a region of bfloat16. */
const isRounding = ({ precision, attributes }: Operation): boolean =>
  precision === 'bf16' && attributes.some(({ name }) => name === FUSED_BF16);

/** The same with fused products of bfloat16 regions told to round their factors. */
const withFusedRounding = (operations: readonly Operation[]): readonly Operation[] =>
  operations.some(isRounding)
    ? operations.map((operation) =>
        isRounding(operation)
          ? {
              ...operation,
              attributes: operation.attributes.map((one) =>
                one.name === FUSED_BF16 ? { ...one, value: true } : one,
              ),
            }
          : operation,
      )
    : operations;

/** @param type TensorFlow's number of an attribute that is a type */
const cast = (input: Reference, from: number, to: number, type: number): Operation => ({
  name: 'Cast',
  attributes: [
    { name: 'SrcT', type, value: from },
    { name: 'DstT', type, value: to },
  ],
  inputs: [input],
  types: [from],
  outputs: 1,
  precision: 'float32',
});

export interface Lowered {
  readonly operations: readonly Operation[];
  readonly outputs: readonly Reference[];
  /** Sources that are another source in bfloat16: the number of each, and that of the other. */
  readonly casts: ReadonlyMap<number, number>;
}

/**
 * Returns the operations with the products of bfloat16 regions computed in bfloat16. Fused products
 * round their factors themselves. For TensorFlow's own, each factor is cast once, however many
 * products read it. For a source that TensorFlow holds already, the copy in bfloat16 is a further
 * source instead (`Casts`), so that the copy of a frozen weight is kept from one step to the next.
 * @param sources the number of tensors from outside
 */
export function withBfloat16Products(
  recorded: readonly Operation[],
  outputs: readonly Reference[],
  sources: number,
): Lowered {
  const operations = withFusedRounding(recorded);
  if (!operations.some(isLowered)) return { operations, outputs, casts: new Map() };
  const made: Operation[] = [],
    casts = new Map<number, number>(),
    /** The new place of each operation's outputs. */
    places: number[] = [],
    /** What was cast to bfloat16, by its old reference. */
    rounded = new Map<Reference, Reference>();
  const place = (reference: Reference): Reference =>
    reference < 0
      ? reference
      : (places[Math.floor(reference / OUTPUTS)] ?? -1) * OUTPUTS + (reference % OUTPUTS);
  const add = (operation: Operation): number => made.push(operation) - 1;
  const round = (reference: Reference, from: number, type: number): Reference => {
    const known = rounded.get(reference);
    if (known !== undefined) return known;
    let found: Reference;
    if (reference < 0 && (from & MADE) === 0) {
      found = -1 - (sources + casts.size);
      casts.set(sources + casts.size, -1 - reference);
    } else found = add(cast(place(reference), FLOAT, BFLOAT16, type)) * OUTPUTS;
    rounded.set(reference, found);
    return found;
  };
  for (const [i, operation] of operations.entries()) {
    const type = typeOf(operation);
    if (type === undefined || !isLowered(operation)) {
      places.push(add({ ...operation, inputs: operation.inputs.map(place) }));
      continue;
    }
    const product = add({
      ...operation,
      attributes: operation.attributes.map((one) =>
        one.name === TYPE ? { ...one, value: BFLOAT16 } : one,
      ),
      inputs: operation.inputs.map((reference, j) =>
        round(reference, operation.types[j] ?? FLOAT, type.type),
      ),
      types: operation.inputs.map(() => BFLOAT16),
    });
    // A product that reads this one takes it as it is: casting it back and forth changes no bit.
    rounded.set(i * OUTPUTS, product * OUTPUTS);
    places.push(add(cast(product * OUTPUTS, BFLOAT16, FLOAT, type.type)));
  }
  return { operations: made, outputs: outputs.map(place), casts };
}

/** Tensors in bfloat16, each kept for as long as the float32 tensor that it was made of. */
export class Casts {
  readonly #made = new Map<TensorData, TensorData>();

  constructor(private readonly binding: Binding) {}

  get size(): number {
    return this.#made.size;
  }

  /** Returns a tensor that TensorFlow holds, in bfloat16. */
  of(data: TensorData): TensorData {
    const known = this.#made.get(data);
    if (known !== undefined) return known;
    const { name, attributes, types } = cast(-1, FLOAT, BFLOAT16, this.binding.TF_ATTR_TYPE);
    const [result] = execute(this.binding, name, attributes, [data.id], types, 1);
    if (result === undefined) throw new Error('a cast returned nothing');
    const made: TensorData = { ...result, values: null, refCount: 1 };
    this.#made.set(data, made);
    return made;
  }

  /** Says that a tensor is no longer used. */
  drop(data: TensorData): void {
    const made = this.#made.get(data);
    if (made === undefined) return;
    this.#made.delete(data);
    this.binding.deleteTensor(made.id);
  }
}

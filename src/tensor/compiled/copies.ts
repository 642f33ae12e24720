/**
 * Keeps copies of tensors in the form in which products read them, each until its tensor is freed.
 * These are factors in bfloat16 (a float32 with 8 instead of 24 bits of significand), and frozen
 * weights packed in the order in which fused products read entries (FusedPack in
 * src/tensor/native/fused-products.cc). Packing changes no bit of a result.
 */
import { type Binding, execute } from './program.ts';
import { type AttributeValue, size } from './rules.ts';
import type { TensorData } from './trace.ts';

/** What matrix products are computed in. Everything else is float32 in either case. */
export type Precision = 'float32' | 'bf16';

/** TF_FLOAT and TF_BFLOAT16 of tensorflow/c/tf_datatype.h. */
export const FLOAT = 1,
  BFLOAT16 = 14;

/**
 * The limit on the bytes of all packed copies together. Large weights gain little from a copy,
 * since their products take many times as long as putting the entries in order does.
 */
export const PACKED_BYTES = 2 ** 28;

/**
 * The number of reads of a weight before it is packed: a copy costs as much time as several reads
 * save.
 */
const READS = 12;

interface Copy {
  readonly data: TensorData;
  /** What the copy counts towards PACKED_BYTES; 0 for one that `cast` made. */
  readonly bytes: number;
}

/** The attributes of a cast from float32 to bfloat16, or back. */
export const castAttributes = (
  { TF_ATTR_TYPE: type }: Binding,
  to: typeof FLOAT | typeof BFLOAT16,
): AttributeValue[] => [
  { name: 'SrcT', type, value: to === FLOAT ? BFLOAT16 : FLOAT },
  { name: 'DstT', type, value: to },
];

export class Copies {
  readonly #casts = new Map<TensorData, Copy>();
  readonly #packed = new Map<TensorData, Map<string, Copy>>();
  readonly #reads = new WeakMap<TensorData, Map<string, number>>();
  #bytes = 0;

  constructor(private readonly binding: Binding) {}

  /** How many tensors have a cast copy, and how many a packed one. */
  get sizes(): { readonly casts: number; readonly packed: number } {
    return { casts: this.#casts.size, packed: this.#packed.size };
  }

  /** Returns the result of an operation on `data` as a copy that counts as `bytes` bytes. */
  #make(data: TensorData, name: string, attributes: readonly AttributeValue[], bytes = 0): Copy {
    const [result] = execute(this.binding, name, attributes, [data.id], [data.dtype], 1);
    if (result === undefined) throw new Error(`${name} returned nothing`);
    this.#bytes += bytes;
    return { data: { ...result, values: null, refCount: 1 }, bytes };
  }

  /** Returns the bfloat16 copy of a tensor that TensorFlow holds. */
  cast(data: TensorData): TensorData {
    const known = this.#casts.get(data);
    if (known !== undefined) return known.data;
    const made = this.#make(data, 'Cast', castAttributes(this.binding, BFLOAT16));
    this.#casts.set(data, made);
    return made.data;
  }

  /**
   * Returns the packed copy of a frozen weight W that TensorFlow holds; null in the first READS
   * calls with the same arguments, and where all copies together would exceed PACKED_BYTES.
   * @param transposed whether it is read by x·Wᵀ, not by x·W
   * @param bf16 whether it is rounded to bfloat16
   */
  packed(data: TensorData, transposed: boolean, bf16: boolean): TensorData | null {
    const key = `${transposed} ${bf16}`,
      copies = this.#packed.get(data) ?? new Map<string, Copy>(),
      known = copies.get(key);
    if (known !== undefined) return known.data;
    const reads = this.#reads.get(data) ?? new Map<string, number>(),
      count = (reads.get(key) ?? 0) + 1;
    this.#reads.set(data, reads.set(key, count));
    const bytes = size(data.shape) * (bf16 ? 2 : 4);
    if (count <= READS || this.#bytes + bytes > PACKED_BYTES) return null;
    const flag = (name: string, value: boolean): AttributeValue => ({
      name,
      type: this.binding.TF_ATTR_BOOL,
      value,
    });
    const flags = [flag('transpose_a', false), flag('transpose_b', transposed), flag('bf16', bf16)];
    const made = this.#make(data, 'FusedPack', flags, bytes);
    this.#packed.set(data, copies.set(key, made));
    return made.data;
  }

  /** Frees the copies of a tensor that is no longer used; does nothing if it has none. */
  drop(data: TensorData): void {
    const cast = this.#casts.get(data);
    for (const copy of [cast ?? [], ...(this.#packed.get(data)?.values() ?? [])].flat()) {
      this.binding.deleteTensor(copy.data.id);
      this.#bytes -= copy.bytes;
    }
    this.#casts.delete(data);
    this.#packed.delete(data);
  }
}

/**
 * Vectors of several members of a pack, spread over the rows of an activation, and sums over each
 * member's rows. A training alone is one member with all rows.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import { rowSums } from '../../tensor/matmul.ts';

/** Whose vector each row of an activation sees. */
export interface RowOwners {
  /** How many members have a vector. (K) */
  readonly count: number;
  /** For each row, the member's place among those; −1 for a row that sees none. (S) */
  readonly of: Int32Array;
}

/**
 * The owners of the rows of an activation.
 * @param bounds where each member's rows start, then where the last one's end
 * @param has for each member, whether it has a vector
 */
export function rowOwners(bounds: readonly number[], has: readonly boolean[]): RowOwners {
  const of = new Int32Array(at(bounds, bounds.length - 1)).fill(-1);
  let count = 0;
  has.forEach((one, k) => {
    if (one) of.fill(count++, at(bounds, k), at(bounds, k + 1));
  });
  return { count, of };
}

/**
 * Each row's vector, ones for a row that sees none. vectors: (K·w) → (S, w), or (1, w) to broadcast
 * where one member has all rows.
 */
export function spreadRows(vectors: Tensor, owners: RowOwners | null): Tensor2D {
  if (owners === null) return tf.reshape<tf.Rank.R2>(vectors, [1, vectors.size]);
  const width = vectors.size / owners.count;
  const table = tf.concat<Tensor2D>([
    tf.ones([1, width]),
    tf.reshape<tf.Rank.R2>(vectors, [owners.count, width]),
  ]); // (1 + K, w)
  return tf.gather(
    table,
    tf.tensor1d(
      owners.of.map((k) => k + 1),
      'int32',
    ),
  );
}

/** The sum over each member's rows. x: (S, w) → (K·w) */
export function sumRows(x: Tensor2D, owners: RowOwners | null): Tensor1D {
  if (owners === null) return tf.sum(x, 0);
  const { count, of } = owners;
  const shares = new Float32Array(count * of.length);
  of.forEach((k, row) => {
    if (k >= 0) shares[k * of.length + row] = 1;
  });
  return tf.reshape(rowSums(tf.tensor2d(shares, [count, of.length]), x), [count * x.shape[1]]);
}

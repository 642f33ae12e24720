import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../base/lookup.ts';
import { differentiable, isConstant, markConstant } from './differentiable.ts';
import { callOperation, hasOperations } from './operation.ts';

const float32 = { type: 'dtype', value: 'float32' } as const,
  int32 = { type: 'dtype', value: 'int32' } as const;
const GATHER = { Tparams: float32, Tindices: int32 },
  SEGMENT_SUM = { T: float32, Tindices: int32, Tnumsegments: int32 };

/**
 * x[index], without a gradient. x: (N, n), index: (K) → (K, n).
 * tfjs-node's own gather reads the index back to check it, which takes longer than the copy.
 */
export function takeRows(x: Tensor2D, index: Tensor1D): Tensor2D {
  if (!hasOperations()) return tf.gather(x, index);
  return callOperation('Gather', [x, index], GATHER, 1)[0] as Tensor2D;
}

/**
 * out[index[i]] += x[i]. x: (K, n), index: (K) → (N, n); rows that no index names are zero. Rows
 * with the same index are added in the same order in every run. TensorFlow's UnsortedSegmentSum has
 * a deterministic kernel for GPUs. ScatterNd has none: on a GPU it adds in any order, and under
 * TF_DETERMINISTIC_OPS (load.ts) it runs on the CPU.
 */
export function scatterRows(x: Tensor2D, index: Tensor1D, rows: number): Tensor2D {
  if (hasOperations()) {
    const count = tf.scalar(rows, 'int32');
    const [sums] = callOperation('UnsortedSegmentSum', [x, index, count], SEGMENT_SUM, 1);
    count.dispose();
    return sums as Tensor2D;
  }
  return tf.scatterND(tf.reshape(index, [-1, 1]), x, [rows, x.shape[1]]);
}

/**
 * x[index], differentiable in x. x: (N, n), index: (K), which may repeat → (K, n).
 * @param kept a factor on the gradient of each gathered row, (K, 1); default: 1
 */
export function gatherRows(x: Tensor2D, index: Tensor1D, kept?: Tensor2D): Tensor2D {
  return differentiable([x], {
    forward: () => ({
      value: takeRows(x, index),
      saved: kept === undefined ? ([index] as const) : ([index, kept] as const),
    }),
    backward: (dy, [rows, factor]) => [
      scatterRows(factor === undefined ? dy : tf.mul(dy, factor), rows, x.shape[0]),
    ],
  });
}

/** The matrices (N_i, n) stacked along the rows, (Σ N_i, n). Constant where all of them are. */
export function concatRows(parts: readonly Tensor2D[]): Tensor2D {
  const rows = tf.concat([...parts], 0);
  return parts.every(isConstant) ? markConstant(rows) : rows;
}

/**
 * Returns the tensors concatenated along the axis. A single tensor is not copied: the result is
 * another handle on its entries.
 */
export function joined(parts: readonly Tensor[], axis: number): Tensor {
  const [only] = parts;
  return only !== undefined && parts.length === 1 ? tf.clone(only) : tf.concat([...parts], axis);
}

/**
 * The inverse of `joined`.
 * @param extents the parts' extents along the axis
 */
export const separated = (whole: Tensor, extents: readonly number[], axis: number): Tensor[] =>
  extents.length === 1 ? [tf.clone(whole)] : tf.split(whole, [...extents], axis);

/** Returns the first entry of a tensor, read back from the device. */
export const scalarOf = (tensor: Tensor): number => at(tensor.dataSync(), 0);

/**
 * The most entries that the WebAssembly backend is made to add in one sum. It adds one by one in
 * float32, which would put a sum of 256,000 entries off by a thousandth. The other backends sum by
 * parts.
 */
const BLOCK = 256;

/** The sum of each row. x: (B, C) → (B, 1). */
export function rowTotals(x: Tensor2D): Tensor2D {
  const [rows, columns] = x.shape;
  if (columns <= BLOCK || tf.getBackend() !== 'wasm') return tf.sum<Tensor2D>(x, -1, true);
  const blocks = Math.ceil(columns / BLOCK),
    padded = tf.pad(x, [
      [0, 0],
      [0, blocks * BLOCK - columns],
    ]);
  return tf.sum<Tensor2D>(tf.sum(tf.reshape(padded, [rows, blocks, BLOCK]), 2), 1, true);
}

/** log Σ_c e^{f_c} of each row. logits: f, (B, C) → (B, 1). */
export function logSumExp(logits: Tensor2D): Tensor2D {
  const most = tf.max<Tensor2D>(logits, -1, true); // (B, 1)
  return tf.add(most, tf.log(rowTotals(tf.exp(tf.sub(logits, most)))));
}

/** log softmax(f) of each row. logits: f, (B, C) → (B, C). */
export function logSoftmax(logits: Tensor2D): Tensor2D {
  const shifted = tf.sub<Tensor2D>(logits, tf.max(logits, -1, true)); // (B, C)
  return tf.sub(shifted, tf.log(rowTotals(tf.exp(shifted))));
}

/** Gathering rows of a matrix by index, and scattering them back. */
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
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
 * with the same index are added in the same order in every run. On GPUs, TensorFlow's ScatterNd
 * adds atomically in any order; under TF_DETERMINISTIC_OPS (compute/load.ts) it would copy
 * everything to the CPU and back, while UnsortedSegmentSum has a deterministic GPU kernel since
 * TensorFlow 2.7.
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
 * @param kept a factor on the gradient of each row, (K, 1); default: 1
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

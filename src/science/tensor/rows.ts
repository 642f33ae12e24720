/** Rows of a matrix by index, there and back. */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { differentiable } from './differentiable.ts';

/** out[index[i]] += x[i]. x: (K, n), index: (K) → (N, n), zero where no index points. */
export function scatterRows(x: Tensor2D, index: Tensor1D, rows: number): Tensor2D {
  return tf.scatterND(tf.reshape(index, [-1, 1]), x, [rows, x.shape[1]]);
}

/** x[index]. x: (N, n), index: (K) → (K, n). An index may repeat. */
export function gatherRows(x: Tensor2D, index: Tensor1D): Tensor2D {
  return differentiable([x], {
    forward: (save) => {
      save(index);
      return tf.gather(x, index);
    },
    backward: (dy, [rows]) => [scatterRows(dy as Tensor2D, rows as Tensor1D, x.shape[0])],
  }) as Tensor2D;
}

/** Parts of the output of one linear layer that serves several uses. */
import type { Rank, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../../tensor/differentiable.ts';

/** Returns `count` columns of x, from `start` on. (S, n) → (S, count) */
export const columns = (x: Tensor2D, start: number, count: number): Tensor2D =>
  differentiable([x], {
    forward: () => ({ value: tf.slice(x, [0, start], [x.shape[0], count]), saved: [] }),
    backward: (dy) => [
      tf.pad(dy, [
        [0, 0],
        [start, x.shape[1] - start - count],
      ]),
    ],
  });

/** The columns of (S, H·3·d) that belong to part `which` of each head. → (S, H·d) */
export const partOfHeads = (x: Tensor2D, heads: number, which: number): Tensor2D => {
  const [S, n] = x.shape,
    d = n / heads / 3;
  return differentiable([x], {
    forward: () => ({
      value: tf.reshape<Rank.R2>(
        tf.slice(tf.reshape(x, [S, heads, 3, d]), [0, 0, which, 0], [S, heads, 1, d]),
        [S, heads * d],
      ),
      saved: [],
    }),
    backward: (dy) => [
      tf.reshape(
        tf.pad(tf.reshape(dy, [S, heads, 1, d]), [
          [0, 0],
          [0, 0],
          [which, 2 - which],
          [0, 0],
        ]),
        [S, n],
      ),
    ],
  });
};

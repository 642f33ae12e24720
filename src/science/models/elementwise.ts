/** Products that a model applies to each entry, with their derivatives. */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../../tensor/differentiable.ts';

/** x·by, for a number. */
export const scaled = (x: Tensor2D, by: number): Tensor2D =>
  differentiable([x], {
    forward: () => ({ value: tf.mul<Tensor2D>(x, by), saved: [] }),
    backward: (dy) => [tf.mul(dy, by)],
  });

/** a ⊙ b. (S, m), (S, m) → (S, m). */
export const product = (a: Tensor2D, b: Tensor2D): Tensor2D =>
  differentiable([a, b], {
    forward: () => ({ value: tf.mul<Tensor2D>(a, b), saved: [a, b] }),
    backward: (dy, [x, y], needs) => [
      needs[0] ? tf.mul(dy, y) : null,
      needs[1] ? tf.mul(dy, x) : null,
    ],
  });

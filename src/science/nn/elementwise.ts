/** Products that a model applies to each entry, with their derivatives. */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';

/** x·by, for a number. */
export const scaled = (x: Tensor2D, by: number): Tensor2D =>
  differentiable([x], {
    forward: () => ({ value: tf.mul<Tensor2D>(x, by), saved: [] }),
    backward: (dy) => [tf.mul(dy, by)],
  });

/** act(g) ⊙ u, with act's own derivative. (S, m), (S, m) → (S, m). */
export const gated = (activated: Tensor2D, u: Tensor2D): Tensor2D =>
  differentiable([activated, u], {
    forward: () => ({ value: tf.mul<Tensor2D>(activated, u), saved: [activated, u] }),
    backward: (dy, [a, b], needs) => [
      needs[0] ? tf.mul(dy, b) : null,
      needs[1] ? tf.mul(dy, a) : null,
    ],
  });

/** Linear layers, with and without a low-rank term. */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';

/** y = x Wᵀ + b. x: (S, n), W: (m, n), b: (m) → (S, m).    dx = dy W;  dW = dyᵀx;  db = Σ_S dy */
export function linear(x: Tensor2D, W: Tensor2D, b: Tensor1D): Tensor2D {
  return differentiable([x, W, b], {
    forward: (save) => {
      save(x, W);
      return tf.add(tf.matMul(x, W, false, true), b);
    },
    backward: (dy, [input, weight], needs) => [
      needs[0] ? tf.matMul(dy, weight!) : null,
      needs[1] ? tf.matMul(dy, input!, true, false) : null,
      needs[2] ? tf.sum(dy, 0) : null,
    ],
  }) as Tensor2D;
}

/**
 * y = x Wᵀ + b + s (x Aᵀ) Bᵀ. x: (S, n), W: (m, n), b: (m), A: (r, n), B: (m, r) → (S, m).
 *
 *     u = s·dy B (S, r);  dx = dy W + u A;  dA = uᵀx;  dB = s·dyᵀ(x Aᵀ)
 */
export function loraLinear(x: Tensor2D, W: Tensor2D, b: Tensor1D, A: Tensor2D, B: Tensor2D, scale: number): Tensor2D {
  return differentiable([x, W, b, A, B], {
    forward: (save) => {
      const down = tf.mul(tf.matMul(x, A, false, true), scale); // (S, r)
      save(x, W, A, B, down);
      return tf.add(tf.add(tf.matMul(x, W, false, true), b), tf.matMul(down, B, false, true)); // (S, m)
    },
    backward: (dy, [input, weight, a, bb, down], needs) => {
      const u = needs[0] || needs[3] ? tf.mul(tf.matMul(dy, bb!), scale) : null; // (S, r)
      return [
        needs[0] ? tf.add(tf.matMul(dy, weight!), tf.matMul(u!, a!)) : null,
        needs[1] ? tf.matMul(dy, input!, true, false) : null,
        needs[2] ? tf.sum(dy, 0) : null,
        needs[3] ? tf.matMul(u!, input!, true, false) : null,
        needs[4] ? tf.matMul(dy, down!, true, false) : null, // down holds the scale
      ];
    },
  }) as Tensor2D;
}

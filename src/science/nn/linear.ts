/** Linear layers, with and without a low-rank term. */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';
import { matmul } from '../tensor/matmul.ts';

const scaled = (x: Tensor2D, by: number): Tensor2D => by === 1 ? x : tf.mul(x, by);

/** y = x Wᵀ + b. x: (S, n), W: (m, n), b: (m) → (S, m).    dx = dy W;  dW = dyᵀx;  db = Σ_S dy */
export function linear(x: Tensor2D, W: Tensor2D, b: Tensor1D): Tensor2D {
  return differentiable([x, W, b], {
    forward: (save) => {
      save(x, W);
      return tf.add(matmul(x, W, false, true), b);
    },
    backward: (dy, [input, weight], needs) => [
      needs[0] ? matmul(dy, weight!) : null,
      needs[1] ? matmul(dy, input!, true, false) : null,
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
      const down = scaled(matmul(x, A, false, true), scale); // (S, r)
      save(x, W, A, B, down);
      return tf.add(tf.add(matmul(x, W, false, true), b), matmul(down, B, false, true)); // (S, m)
    },
    backward: (dy, [input, weight, a, bb, down], needs) => {
      const u = needs[0] || needs[3] ? scaled(matmul(dy, bb!), scale) : null; // (S, r)
      return [
        needs[0] ? tf.add(matmul(dy, weight!), matmul(u!, a!)) : null,
        needs[1] ? matmul(dy, input!, true, false) : null,
        needs[2] ? tf.sum(dy, 0) : null,
        needs[3] ? matmul(u!, input!, true, false) : null,
        needs[4] ? matmul(dy, down!, true, false) : null, // down holds the scale
      ];
    },
  }) as Tensor2D;
}

/**
 * DoRA's magnitudes (Liu et al. 2024, DoRA: Weight-Decomposed Low-Rank Adaptation, eq. 5), as PEFT
 * computes them: W' = diag(m/‖V‖)·V with V the adapted weight and ‖V‖ the norms of its rows, one
 * for each output, which count as constants in the gradient (section 4.3 there).
 */
import type { Rank, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../../tensor/differentiable.ts';
import { matmul } from '../../tensor/matmul.ts';
import { biased } from './linear.ts';

/** s·B·A: A (r, n), B (m, r). */
export interface Product {
  readonly A: Tensor2D;
  readonly B: Tensor2D;
  readonly scale: number;
}

/** W + Σ s·B·A, (m, n). Call it inside a tidy. */
export const adaptedWeight = (W: Tensor2D, products: readonly Product[]): Tensor2D =>
  products.reduce<Tensor2D>((sum, { A, B, scale }) => tf.add(sum, tf.mul(matmul(B, A), scale)), W);

/** The norm of each row of W + Σ s·B·A, (m). Call it inside a tidy. */
export const rowNorms = (W: Tensor2D, products: readonly Product[]): Tensor1D =>
  tf.sqrt(tf.sum(tf.square(adaptedWeight(W, products)), 1));

/**
 * y = (m/‖V‖) ∘ v + b, with v = x Vᵀ. v: (S, m), magnitude: (m), b: (m) → (S, m).
 *
 *     dv = (m/‖V‖) ∘ dy;  dm = Σ_S dy ∘ v / ‖V‖;  db = Σ_S dy
 *
 * @param norms computes ‖V‖, (m)
 */
export function magnified(
  v: Tensor2D,
  magnitude: Tensor1D,
  b: Tensor1D | null,
  norms: () => Tensor1D,
): Tensor2D {
  return differentiable([v, magnitude, b], {
    forward: () => {
      const norm = norms();
      const gain = tf.reshape<Rank.R2>(tf.div(magnitude, norm), [1, magnitude.size]);
      return { value: biased(tf.mul(v, gain), b), saved: [v, magnitude, norm] };
    },
    backward: (dy, [unscaled, m, norm], needs) => [
      needs[0] ? tf.mul(dy, tf.reshape<Rank.R2>(tf.div(m, norm), [1, m.size])) : null,
      needs[1] ? tf.div(tf.sum(tf.mul(dy, unscaled), 0), norm) : null,
      needs[2] ? tf.sum(dy, 0) : null,
    ],
  });
}

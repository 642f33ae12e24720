/**
 * VeRA's linear layer (Kopiczko et al. 2024, VeRA: Vector-based Random Matrix Adaptation, eq. 2).
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../../tensor/differentiable.ts';
import { matmul } from '../../tensor/matmul.ts';
import { biasedSum } from './linear.ts';

/** The shared factors A (r, ≥ n) and B (≥ m, r), of which a layer reads the first part. */
interface SharedFactors {
  readonly A: Tensor2D;
  readonly B: Tensor2D;
}

/** The part of the shared factors that a layer n → m reads: A (r, n), B (m, r). */
export const sharedPart = ({ A, B }: SharedFactors, n: number, m: number): SharedFactors => ({
  A: A.shape[1] === n ? A : tf.slice(A, [0, 0], [A.shape[0], n]),
  B: B.shape[0] === m ? B : tf.slice(B, [0, 0], [m, B.shape[1]]),
});

/** To be broadcast over the rows of an activation. (w) → (1, w) */
const row = (vector: Tensor): Tensor2D => tf.reshape(vector, [1, vector.size]);

/**
 * y = x Wᵀ + bias + b ∘ ((d ∘ (x̃ Aᵀ)) Bᵀ) with x̃ = x ⊙ mask under dropout, else x.
 * x: (S, n), W: (m, n), bias: (m), d: (r), b: (m), mask: (S, n) → (S, m).
 *
 *     u = (b ∘ dy) B (S, r);  dx = dy W + ((d ∘ u) A) ⊙ mask
 *     dd = Σ_S u ∘ (x̃ Aᵀ);  db = Σ_S dy ∘ ((d ∘ (x̃ Aᵀ)) Bᵀ)
 */
export function veraLinear(
  x: Tensor2D,
  W: Tensor2D,
  bias: Tensor1D | null,
  shared: SharedFactors,
  d: Tensor1D,
  b: Tensor1D,
  mask?: Tensor2D,
): Tensor2D {
  const [m, n] = W.shape;
  const dropped = (t: Tensor2D, kept: Tensor2D | undefined): Tensor2D =>
    kept === undefined ? t : tf.mul(t, kept);
  return differentiable([x, W, bias, d, b], {
    forward: () => {
      const { A, B } = sharedPart(shared, n, m);
      const down = matmul(dropped(x, mask), A, false, true); // (S, r)
      const up = matmul(tf.mul<Tensor2D>(down, row(d)), B, false, true); // (S, m)
      const base = matmul(x, W, false, true); // (S, m)
      return {
        value: biasedSum(base, bias, tf.mul<Tensor2D>(up, row(b))), // (S, m)
        saved: [x, W, A, B, d, b, down, up, ...(mask === undefined ? [] : [mask])],
      };
    },
    backward: (dy, [input, weight, A, B, dd, bb, down, up, kept], needs) => {
      const u = needs[0] || needs[3] ? matmul(tf.mul<Tensor2D>(dy, row(bb)), B) : null;
      return [
        u !== null && needs[0]
          ? tf.add(matmul(dy, weight), dropped(matmul(tf.mul<Tensor2D>(u, row(dd)), A), kept))
          : null,
        needs[1] ? matmul(dy, input, true, false) : null,
        needs[2] ? tf.sum(dy, 0) : null,
        u !== null && needs[3] ? tf.sum(tf.mul(u, down), 0) : null,
        needs[4] ? tf.sum(tf.mul(dy, up), 0) : null,
      ];
    },
  });
}

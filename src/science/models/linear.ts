/** Linear layers, with and without a low-rank term, and parts of a layer's output. */
import type { Rank, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable, isConstant } from '../../tensor/differentiable.ts';
import { fusedAddBias, hasFused } from '../../tensor/fused.ts';
import {
  fusedLinear,
  fusedLora,
  fusedLoraGradient,
  hasFusedProducts,
  matmul,
} from '../../tensor/products.ts';

/** Returns x times `by`; x itself if that is 1. */
const scaled = (x: Tensor2D, by: number): Tensor2D => (by === 1 ? x : tf.mul(x, by));

/** y + b; y where there is no bias. */
export const biased = (y: Tensor2D, b: Tensor1D | null): Tensor2D =>
  b === null ? y : hasFused() ? fusedAddBias(y, b) : tf.add(y, b);

/** y + b + more; y + more where there is no bias. */
export const biasedSum = (y: Tensor2D, b: Tensor1D | null, more: Tensor2D): Tensor2D =>
  b !== null && hasFused() ? fusedAddBias(y, b, more) : tf.add(biased(y, b), more);

/**
 * y = x Wᵀ + b, or x Wᵀ without a bias. x: (S, n), W: (m, n), b: (m) → (S, m).
 *
 *     dx = dy W;  dW = dyᵀx;  db = Σ_S dy
 */
export function linear(x: Tensor2D, W: Tensor2D, b: Tensor1D | null): Tensor2D {
  return differentiable([x, W, b], {
    forward: () => ({
      value:
        b !== null && hasFusedProducts()
          ? fusedLinear(x, W, b, isConstant(W))
          : biased(matmul(x, W, false, true), b),
      saved: [x, W],
    }),
    backward: (dy, [input, weight], needs) => [
      needs[0] ? matmul(dy, weight) : null,
      needs[1] ? matmul(dy, input, true, false) : null,
      needs[2] ? tf.sum(dy, 0) : null,
    ],
  });
}

/** x ⊙ mask; x where there is no mask. */
export const masked = (x: Tensor2D, mask: Tensor2D | undefined): Tensor2D =>
  mask === undefined ? x : tf.mul(x, mask);

/**
 * y = x Wᵀ + b + s (x̃ Aᵀ) Bᵀ with x̃ = x ⊙ mask under dropout, else x; b may be absent.
 * x: (S, n), W: (m, n), b: (m), A: (r, n), B: (m, r), mask: (S, n) → (S, m).
 *
 *     u = s·dy B (S, r);  dx = dy W + (u A) ⊙ mask;  dA = uᵀx̃;  dB = s·dyᵀ(x̃ Aᵀ)
 */
export function loraLinear(
  x: Tensor2D,
  W: Tensor2D,
  b: Tensor1D | null,
  A: Tensor2D,
  B: Tensor2D,
  scale: number,
  mask?: Tensor2D,
): Tensor2D {
  if (mask === undefined && hasFusedProducts()) return fusedLoraLinear([x, W, A, B], b, scale);
  return differentiable([x, W, b, A, B], {
    forward: () => {
      const down = scaled(matmul(masked(x, mask), A, false, true), scale); // (S, r)
      const base = matmul(x, W, false, true); // (S, m)
      return {
        value: biasedSum(base, b, matmul(down, B, false, true)), // (S, m)
        saved: [x, W, A, B, down, ...(mask === undefined ? [] : [mask])],
      };
    },
    backward: (dy, [input, weight, a, bb, down, kept], needs) => {
      const u = needs[0] || needs[3] ? scaled(matmul(dy, bb), scale) : null; // (S, r)
      return [
        u !== null && needs[0] ? tf.add(matmul(dy, weight), masked(matmul(u, a), kept)) : null,
        needs[1] ? matmul(dy, input, true, false) : null,
        needs[2] ? tf.sum(dy, 0) : null,
        u !== null && needs[3] ? matmul(u, masked(input, kept), true, false) : null,
        needs[4] ? matmul(dy, down, true, false) : null, // the scale is already part of `down`
      ];
    },
  });
}

/** `loraLinear` without dropout, by one operation. */
function fusedLoraLinear(
  factors: readonly [x: Tensor2D, W: Tensor2D, A: Tensor2D, B: Tensor2D],
  b: Tensor1D | null,
  scale: number,
): Tensor2D {
  const frozen = isConstant(factors[1]);
  return differentiable([...factors, b], {
    forward: () => {
      const [value, down] = fusedLora(factors, b, scale, frozen);
      return { value, saved: [...factors, down] as const };
    },
    backward: (dy, saved, [ofX = false, ofW = false, ofA = false, ofB = false, ofBias = false]) => {
      const [dx, dA, dB] = fusedLoraGradient(dy, saved, scale, { x: ofX, A: ofA, B: ofB, frozen });
      return [
        dx,
        ofW ? matmul(dy, saved[0], true, false) : null,
        dA,
        dB,
        ofBias ? tf.sum(dy, 0) : null,
      ];
    },
  });
}

/** y = s (x Aᵀ) Bᵀ, the low-rank term alone. x: (S, n), A: (r, n), B: (m, r) → (S, m). */
export function lowRank(x: Tensor2D, A: Tensor2D, B: Tensor2D, scale: number): Tensor2D {
  return differentiable([x, A, B], {
    forward: () => {
      const down = scaled(matmul(x, A, false, true), scale); // (S, r)
      return { value: matmul(down, B, false, true), saved: [x, A, B, down] };
    },
    backward: (dy, [input, a, bb, down], needs) => {
      const u = needs[0] || needs[1] ? scaled(matmul(dy, bb), scale) : null; // (S, r)
      return [
        u !== null && needs[0] ? matmul(u, a) : null,
        u !== null && needs[1] ? matmul(u, input, true, false) : null,
        needs[2] ? matmul(dy, down, true, false) : null,
      ];
    },
  });
}

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

/**
 * Returns the queries (`which` 0), keys (1) or values (2) of all heads, where x has, head after
 * head, the head's query, key and value. (S, H·3·d) → (S, H·d)
 */
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

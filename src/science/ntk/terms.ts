/**
 * A linear layer's kernels as sums over token pairs of one form,
 *
 *     coefficient · Σ_{t,u} (a^c_t · a^d_u)(b_t · b_u),
 *
 * so that a contraction of this form serves every layer, model and adapter.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { LoraFactors } from '../model/types.ts';
import type { LayerTokens } from './collect.ts';

export interface Term {
  /** The factor a of each class. */
  readonly a: readonly Tensor2D[]; // C × (S, p)
  readonly b: Tensor2D; // (S, q)
  readonly coefficient: number;
}

/** ∂f_c/∂W = Σ_t δ^c_t h_tᵀ:  K_ff = Σ_{t,u} (δ·δ')(h·h') */
export function fullTerms({ h, deltas }: LayerTokens): Term[] {
  return [{ a: deltas, b: h, coefficient: 1 }];
}

/**
 * y = … + s B A h:  ∂f_c/∂B = s Σ_t δ_t (A h_t)ᵀ and ∂f_c/∂A = s Σ_t (Bᵀδ_t) h_tᵀ.
 *
 *     K_LoRA = s² Σ_{t,u} [ (δ·δ')(Ah·Ah') + (Bᵀδ·Bᵀδ')(h·h') ]
 *
 * With A frozen (LoRA-FA) only the first product remains. Makes new tensors: call it inside a tidy.
 */
export function loraTerms(
  { h, deltas }: LayerTokens,
  { A, B, scale, freezeA = false }: LoraFactors,
): Term[] {
  // (S, r)
  const ofB: Term = { a: deltas, b: tf.matMul(h, A, false, true), coefficient: scale ** 2 };
  if (freezeA) return [ofB];
  // C × (S, r)
  return [ofB, { a: deltas.map((delta) => tf.matMul(delta, B)), b: h, coefficient: scale ** 2 }];
}

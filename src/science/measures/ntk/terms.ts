/**
 * The kernels of a linear layer or norm, as sums of terms. Each term is a sum over pairs of tokens,
 *
 *     coefficient · Σ_{t,u} (a^c_t · a^d_u)(b_t · b_u),
 *
 * for the tokens t and u of two rows and the classes c and d. Since all terms have this form, one
 * contraction serves every layer, model and adapter.
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { isZero, sharedPart } from '../../models/adapted-layer.ts';
import type { AdaptedLayer, LoraFactors, TrainedVectors, VeraVectors } from '../../models/types.ts';
import type { LayerTokens } from './collect.ts';

export interface Term {
  /** a^c of each class c. */
  readonly a: readonly Tensor2D[]; // C × (S, p)
  readonly b: Tensor2D; // (S, q)
  readonly coefficient: number;
}

/** Returns the one term of K_ff. ∂f_c/∂W = Σ_t δ^c_t h_tᵀ:  K_ff = Σ_{t,u} (δ·δ')(h·h') */
export function fullTerms({ h, deltas }: LayerTokens): Term[] {
  return [{ a: deltas, b: h, coefficient: 1 }];
}

/**
 * A term of the adapter's kernel, and the parameter over which it is taken: `m` is DoRA's
 * magnitudes; `d` and `b` are VeRA's vectors; `bias` and `scale` are the model's own vectors.
 */
export interface OwnTerm extends Term {
  readonly parameter: 'A' | 'B' | 'm' | 'd' | 'b' | 'bias' | 'scale';
}

/** A term over a batch of rows whose gradients were computed already: see `GradientBlock`. */
export interface GradientTerm extends Pick<OwnTerm, 'parameter' | 'coefficient'> {
  readonly gradients: readonly Tensor2D[]; // C × (R, p·q)
  readonly p: number;
  readonly q: number;
}

/** The parameters whose terms are zero, as `zeroTerms` returns them. */
export type ZeroTerms = ReadonlySet<OwnTerm['parameter']>;
const NONE: ZeroTerms = new Set();

/** Returns δ^c ∘ factor of each class c. C × (S, m) → C × (S, m). */
const scaledBy = (deltas: readonly Tensor2D[], factor: Tensor): Tensor2D[] =>
  deltas.map((delta) => tf.mul<Tensor2D>(delta, factor));

/**
 * Returns the term of a vector whose gradient is Σ_t a_t: Σ_{t,u} (a_t · a'_u), with b = 1. Of `h`,
 * only the number of rows is read.
 */
const vectorTerm = (
  parameter: OwnTerm['parameter'],
  a: readonly Tensor2D[],
  h: Tensor2D,
): OwnTerm => ({
  parameter,
  a,
  b: tf.ones([h.shape[0], 1]),
  coefficient: 1,
});

/**
 * Returns the terms of LoRA's parameters that are trained and not in `zero`.
 *
 * For a layer y = … + s B A h:  ∂f_c/∂B = s Σ_t δ_t (A h_t)ᵀ and ∂f_c/∂A = s Σ_t (Bᵀδ_t) h_tᵀ.
 *
 *     K_LoRA = s² Σ_{t,u} [ (δ·δ')(Ah·Ah') + (Bᵀδ·Bᵀδ')(h·h') ]
 *
 * With A frozen (LoRA-FA) only the first product remains.
 *
 * Under DoRA, y = g ∘ (V h), where V = W + s B A and g = μ/‖V‖ for the magnitudes μ and the norms
 * ‖V‖ of V's rows. As in DoRA's training, ‖V‖ counts as a constant. So g ∘ δ takes the place of δ
 * above, and ∂f_c/∂μ = Σ_t δ_t ∘ (V h_t)/‖V‖ adds a term, that of the parameter `m`.
 *
 * Makes new tensors: call it inside a tidy.
 */
export function loraTerms(
  { h, deltas }: LayerTokens,
  { A, B, scale, freezeA = false, dora }: LoraFactors,
  zero: ZeroTerms = NONE,
): OwnTerm[] {
  const V = dora?.weight() ?? null, // (m, n)
    norm = V === null ? null : tf.sqrt(tf.sum(tf.square(V), 1)); // (m)
  const gained =
    dora === undefined || norm === null ? deltas : scaledBy(deltas, tf.div(dora.magnitude, norm));
  const terms: OwnTerm[] = [];
  if (!zero.has('B'))
    terms.push({
      parameter: 'B',
      a: gained,
      b: tf.matMul(h, A, false, true), // (S, r)
      coefficient: scale ** 2,
    });
  if (!freezeA && !zero.has('A'))
    terms.push({
      parameter: 'A',
      a: gained.map((delta) => tf.matMul(delta, B)), // C × (S, r)
      b: h,
      coefficient: scale ** 2,
    });
  if (V !== null && norm !== null) {
    const unit = tf.div(tf.matMul(h, V, false, true), norm); // (S, m)
    terms.push(vectorTerm('m', scaledBy(deltas, unit), h));
  }
  return terms;
}

/**
 * Returns the terms of VeRA's vectors, without those in `zero`. For a layer y = … + b ∘ (B (d ∘ (A
 * h))):  ∂f_c/∂d = Σ_t (Bᵀ(b ∘ δ_t)) ∘ (A h_t) and ∂f_c/∂b = Σ_t δ_t ∘ (B (d ∘ (A h_t))). Makes new
 * tensors: call it inside a tidy.
 */
function veraTerms(
  { h, deltas }: LayerTokens,
  { d, b, ...shared }: VeraVectors,
  zero: ZeroTerms = NONE,
): OwnTerm[] {
  const { A, B } = sharedPart(shared, h.shape[1], b.shape[0]);
  const down = tf.matMul(h, A, false, true), // (S, r)
    up = tf.matMul(tf.mul<Tensor2D>(down, d), B, false, true); // (S, m)
  const terms: OwnTerm[] = [];
  if (!zero.has('b')) terms.push(vectorTerm('b', scaledBy(deltas, up), h));
  if (!zero.has('d')) {
    const pulledBack = scaledBy(deltas, b).map((delta): Tensor2D => tf.matMul(delta, B)); // (S, r)
    terms.push(vectorTerm('d', scaledBy(pulledBack, down), h));
  }
  return terms;
}

/**
 * Returns the terms of the model's own vectors that are trained. For a norm y = u ∘ γ + β, where u
 * is what its scale γ multiplies, or a linear layer y = … + β: ∂f_c/∂β = Σ_t δ_t and ∂f_c/∂γ = Σ_t
 * δ_t ∘ u_t. Makes new tensors: call it inside a tidy.
 */
function trainedTerms({ h, deltas }: LayerTokens, { bias, unit }: TrainedVectors): OwnTerm[] {
  const terms: OwnTerm[] = bias ? [vectorTerm('bias', deltas, h)] : [];
  if (unit !== undefined) terms.push(vectorTerm('scale', scaledBy(deltas, unit(h)), h));
  return terms;
}

/**
 * Returns the parameters of a layer whose terms are zero because another parameter is zero: the
 * term of A is zero while B = 0, as at the start of LoRA.
 */
export function zeroTerms({ lora, vera }: Pick<AdaptedLayer, 'lora' | 'vera'>): ZeroTerms {
  const zero = new Set<OwnTerm['parameter']>();
  if (lora !== undefined && lora.freezeA !== true && isZero(lora.B)) zero.add('A');
  if (lora !== undefined && isZero(lora.A)) zero.add('B');
  if (vera !== undefined && isZero(vera.b)) zero.add('d');
  if (vera !== undefined && isZero(vera.d)) zero.add('b');
  return zero;
}

/** The fields of an `AdaptedLayer` that tell which kernels a layer has. */
export type Owned = Pick<AdaptedLayer, 'ownOnly'> & {
  readonly [of in 'lora' | 'vera' | 'trained']?: object;
};

/**
 * Whether the adapter trains parameters at a layer: factors or vectors that it adds, or the model's
 * own biases and scales.
 */
export const hasOwn = ({ lora, vera, trained }: Owned): boolean =>
  lora !== undefined || vera !== undefined || trained !== undefined;

/**
 * `full`: the kernel over the weights. `lora`: the kernel over the adapter's own parameters, of
 * whatever kind.
 */
export type KernelKind = 'full' | 'lora';

/**
 * Whether a kernel of this kind is taken over a layer: `full` over every layer except those with
 * `ownOnly`, `lora` where the adapter trains parameters.
 */
export const hasKernel = (kind: KernelKind, layer: Owned): boolean =>
  kind === 'full' ? layer.ownOnly !== true : hasOwn(layer);

/** Returns the widths p and q of the terms that `ownTerms` returns. */
export function ownWidths(
  { in: n, out: m, lora, vera, trained }: AdaptedLayer,
  zero: ZeroTerms,
): { readonly p: number; readonly q: number }[] {
  const widths: { p: number; q: number }[] = [];
  if (lora !== undefined) {
    const [r] = lora.A.shape;
    if (!zero.has('B')) widths.push({ p: m, q: r });
    if (lora.freezeA !== true && !zero.has('A')) widths.push({ p: r, q: n });
    if (lora.dora !== undefined) widths.push({ p: m, q: 1 });
  }
  if (vera !== undefined) {
    if (!zero.has('b')) widths.push({ p: m, q: 1 });
    if (!zero.has('d')) widths.push({ p: vera.d.size, q: 1 });
  }
  if (trained?.bias === true) widths.push({ p: m, q: 1 });
  if (trained?.unit !== undefined) widths.push({ p: m, q: 1 });
  return widths;
}

/**
 * Returns the terms of a layer's kernel over the adapter's own parameters, without those in `zero`.
 * Makes new tensors: call it inside a tidy.
 */
export function ownTerms(
  { lora, vera, trained }: AdaptedLayer,
  tokens: LayerTokens,
  zero: ZeroTerms = NONE,
): OwnTerm[] {
  return [
    ...(lora === undefined ? [] : loraTerms(tokens, lora, zero)),
    ...(vera === undefined ? [] : veraTerms(tokens, vera, zero)),
    ...(trained === undefined ? [] : trainedTerms(tokens, trained)),
  ];
}

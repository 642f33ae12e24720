/** Layer norm and RMS norm over the last axis, of one tensor or of the sum of two. */
import type { Rank, Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import { add, differentiable } from '../../tensor/differentiable.ts';
import { fusedNorm, fusedNormGradient, hasFused, type NormKind } from '../../tensor/fused.ts';
import type { Norm } from './families/description.ts';
import type { ForwardContext, TokenMap } from './types.ts';

/**
 * ẑ = (z − mean z)·inverse with inverse = 1/√(var z + ε), (S, 1). Where not centred, ẑ = z·inverse
 * with inverse = 1/√(mean z² + ε).
 */
function standardised(
  z: Tensor2D,
  centred: boolean,
  epsilon: number,
): { normed: Tensor; inverse: Tensor } {
  const shifted = centred ? tf.sub(z, tf.mean(z, -1, true)) : z;
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(shifted), -1, true), epsilon)); // (S, 1)
  return { normed: tf.mul(shifted, inverse), inverse };
}

/**
 * Returns the function x ↦ ẑ of a norm (see `standardised`), (S, h) → (S, h), without a gradient. ẑ
 * is ∂y/∂γ.
 */
export const unitOf =
  (kind: 'layer' | 'rms', epsilon: number) =>
  (x: Tensor2D): Tensor2D =>
    standardised(x, kind === 'layer', epsilon).normed as Tensor2D;

/** What the gradient of a norm uses: ẑ, `inverse` as `standardised` returns it, and γ. */
type Saved = readonly [normed: Tensor, inverse: Tensor, gamma: Tensor];

/** The factor on ẑ: γ, or 1 + γ for a norm with an offset. (h) */
const scaleOf = (gamma: Tensor, { offset }: NormKind): Tensor =>
  offset ? tf.add(gamma, 1) : gamma;

/**
 * dz = (g − mean g − ẑ · mean(g·ẑ)) · inverse,  g = γ·dy. Where not centred, mean g is left out;
 * with an offset, g = (1 + γ)·dy.
 */
function gradientOfInput(dy: Tensor, saved: Saved, kind: NormKind): Tensor {
  if (hasFused()) return fusedNormGradient(dy, saved, kind);
  const [normed, inverse, gamma] = saved;
  const g = tf.mul(dy, scaleOf(gamma, kind));
  const along = tf.mul(normed, tf.mean(tf.mul(g, normed), -1, true));
  const own = kind.centred ? tf.sub(g, tf.mean(g, -1, true)) : g;
  return tf.mul(tf.sub(own, along), inverse);
}

/**
 * z = x + residual;  y = γ · ẑ + β,  ẑ = (z − mean z) / √(var z + ε),  var biased. A norm that is
 * not centred, an RMS norm (Zhang & Sennrich 2019), has ẑ = z / √(mean z² + ε); one with an offset
 * has 1 + γ in place of γ. The residual and β are 0 where they are null. x, residual: (S, h),
 * gamma, beta: (h) → (S, h).    dγ = Σ_S dy·ẑ;  dβ = Σ_S dy
 */
export function addNorm(
  x: Tensor2D,
  residual: Tensor2D | null,
  gamma: Tensor1D,
  beta: Tensor1D | null,
  kind: NormKind,
  epsilon: number,
): Tensor2D {
  return differentiable<Tensor2D, Saved>([x, residual, gamma, beta], {
    forward: () => {
      if (hasFused()) {
        const [value, normed, inverse] = fusedNorm(x, residual, gamma, beta, kind, epsilon);
        return { value, saved: [normed, inverse, gamma] };
      }
      const z = residual === null ? x : tf.add<Tensor2D>(x, residual);
      const { normed, inverse } = standardised(z, kind.centred, epsilon);
      const scaled = tf.mul<Tensor2D>(normed, scaleOf(gamma, kind));
      return {
        value: beta === null ? scaled : tf.add(scaled, beta),
        saved: [normed, inverse, gamma],
      };
    },
    backward: (dy, saved, needs) => {
      const dz = needs[0] || needs[1] ? gradientOfInput(dy, saved, kind) : null;
      // x and the residual have the same gradient, each in a tensor of its own.
      return [
        dz,
        dz !== null && needs[0] && needs[1] ? tf.clone(dz) : dz,
        needs[2] ? tf.sum(tf.mul(dy, saved[0]), 0) : null,
        needs[3] ? tf.sum(dy, 0) : null,
      ];
    },
  });
}

const LAYER: NormKind = { centred: true, offset: false };

/** y = γ · (x − mean x) / √(var x + ε) + β,  var biased. x: (S, h), gamma, beta: (h) → (S, h). */
export const layerNorm = (
  x: Tensor2D,
  gamma: Tensor1D,
  beta: Tensor1D,
  epsilon: number,
): Tensor2D => addNorm(x, null, gamma, beta, LAYER, epsilon);

/** Applies a norm to x + residual. Both: (S, h), whose rows belong to `tokens` → (S, h). */
export function normalised(
  { name, kind, epsilon, bias = kind === 'layer', offset = false }: Norm,
  x: Tensor2D,
  tokens: TokenMap,
  { parameter, vectorTap }: ForwardContext,
  residual: Tensor2D | null = null,
): Tensor2D {
  const gamma = parameter(`${name}.weight`) as Tensor1D,
    beta = bias ? (parameter(`${name}.bias`) as Tensor1D) : null;
  const y = addNorm(x, residual, gamma, beta, { centred: kind === 'layer', offset }, epsilon);
  if (vectorTap === undefined) return y;
  return vectorTap(name, () => (residual === null ? x : add(x, residual)), y, tokens);
}

/** Applies a norm to each head's d features. x: (S, H·d), whose rows belong to `tokens`. */
export function headNormalised(
  norm: Norm,
  x: Tensor2D,
  heads: number,
  { batch, example }: TokenMap,
  context: ForwardContext,
): Tensor2D {
  const [S, n] = x.shape;
  const rows = tf.reshape<Rank.R2>(x, [S * heads, n / heads]);
  const exampleByHead = (): Int32Array =>
    Int32Array.from({ length: S * heads }, (_, i) => at(example, Math.floor(i / heads)));
  // Only a tap reads which row of the batch a row of x belongs to.
  const map = { batch, example: context.vectorTap === undefined ? example : exampleByHead() };
  return tf.reshape(normalised(norm, rows, map, context), [S, n]);
}

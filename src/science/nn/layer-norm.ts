/** Norms over the last axis: layer norm, with or without a residual added before it, and RMS norm. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { fusedNorm, fusedNormGradient, hasFused } from '../../compute/fused.ts';
import { differentiable } from '../tensor/differentiable.ts';

/** ẑ = (z − mean z)/√(var z + ε), with 1/√(var z + ε), (S, 1). */
function standardised(z: Tensor2D, epsilon: number): { normed: Tensor; inverse: Tensor } {
  const centred = tf.sub(z, tf.mean(z, -1, true));
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon)); // (S, 1)
  return { normed: tf.mul(centred, inverse), inverse };
}

/** x/√(mean x² + ε), with 1/√(mean x² + ε), (S, 1). */
function rescaled(x: Tensor2D, epsilon: number): { normed: Tensor; inverse: Tensor } {
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon)); // (S, 1)
  return { normed: tf.mul(x, inverse), inverse };
}

/**
 * What a norm of this kind multiplies by its scale: ∂y/∂γ. Not differentiable itself. (S, h) → (S,
 * h)
 */
export const unitOf =
  (kind: 'layer' | 'rms', epsilon: number) =>
  (x: Tensor2D): Tensor2D =>
    (kind === 'rms' ? rescaled(x, epsilon) : standardised(x, epsilon)).normed as Tensor2D;

/** The norm's value, with what its gradient uses: ẑ, 1/√(var z + ε) and γ. */
function normalise(
  z: Tensor2D,
  gamma: Tensor1D,
  beta: Tensor1D | null,
  epsilon: number,
): { value: Tensor2D; saved: readonly [normed: Tensor, inverse: Tensor, gamma: Tensor] } {
  const { normed, inverse } = standardised(z, epsilon);
  const scaled = tf.mul<Tensor2D>(normed, gamma);
  return {
    value: beta === null ? scaled : tf.add(scaled, beta),
    saved: [normed, inverse, gamma],
  };
}

/** `normalise` of x + residual by one operation. */
function fused(
  x: Tensor2D,
  residual: Tensor2D | null,
  gamma: Tensor1D,
  beta: Tensor1D,
  epsilon: number,
): ReturnType<typeof normalise> {
  const [value, normed, inverse] = fusedNorm(x, residual, gamma, beta, epsilon);
  return { value, saved: [normed, inverse, gamma] };
}

/** dz = (g − mean g − ẑ · mean(g·ẑ)) / √(var z + ε),  g = γ·dy. */
function gradientOfInput(dy: Tensor, normed: Tensor, inverse: Tensor, gamma: Tensor): Tensor {
  if (hasFused()) return fusedNormGradient(dy, normed, inverse, gamma);
  const g = tf.mul(dy, gamma);
  const along = tf.mul(normed, tf.mean(tf.mul(g, normed), -1, true));
  return tf.mul(tf.sub(tf.sub(g, tf.mean(g, -1, true)), along), inverse);
}

/**
 * z = x + residual;  y = γ · ẑ + β,  ẑ = (z − mean z) / √(var z + ε),  var biased.
 * x, residual: (S, h), gamma, beta: (h) → (S, h).    dγ = Σ_S dy·ẑ;  dβ = Σ_S dy
 */
export function addLayerNorm(
  x: Tensor2D,
  residual: Tensor2D,
  gamma: Tensor1D,
  beta: Tensor1D,
  epsilon: number,
): Tensor2D {
  return differentiable([x, residual, gamma, beta], {
    forward: () =>
      hasFused()
        ? fused(x, residual, gamma, beta, epsilon)
        : normalise(tf.add(x, residual), gamma, beta, epsilon),
    backward: (dy, [normed, inverse, scale], needs) => {
      const dz = needs[0] || needs[1] ? gradientOfInput(dy, normed, inverse, scale) : null;
      // Both inputs have the same gradient, and each must own its tensor.
      return [
        dz,
        dz !== null && needs[0] && needs[1] ? tf.clone(dz) : dz,
        needs[2] ? tf.sum(tf.mul(dy, normed), 0) : null,
        needs[3] ? tf.sum(dy, 0) : null,
      ];
    },
  });
}

/** `addLayerNorm` without a residual: z = x. */
export function layerNorm(x: Tensor2D, gamma: Tensor1D, beta: Tensor1D, epsilon: number): Tensor2D {
  return differentiable([x, gamma, beta], {
    forward: () =>
      hasFused() ? fused(x, null, gamma, beta, epsilon) : normalise(x, gamma, beta, epsilon),
    backward: (dy, [normed, inverse, scale], needs) => [
      needs[0] ? gradientOfInput(dy, normed, inverse, scale) : null,
      needs[1] ? tf.sum(tf.mul(dy, normed), 0) : null,
      needs[2] ? tf.sum(dy, 0) : null,
    ],
  });
}

/** `layerNorm` without a shift, as ModernBERT has it. x: (S, h), gamma: (h) → (S, h). */
export function scaleNorm(x: Tensor2D, gamma: Tensor1D, epsilon: number): Tensor2D {
  return differentiable([x, gamma], {
    forward: () => normalise(x, gamma, null, epsilon),
    backward: (dy, [normed, inverse, scale], needs) => [
      needs[0] ? gradientOfInput(dy, normed, inverse, scale) : null,
      needs[1] ? tf.sum(tf.mul(dy, normed), 0) : null,
    ],
  });
}

/**
 * y = g · x/√(mean x² + ε) with g = γ, or 1 + γ with `offset` (Zhang & Sennrich 2019).
 * x: (S, h), gamma: (h) → (S, h).
 *
 *     u = g·dy;  dx = (u − x̂ · mean(u·x̂)) / √(mean x² + ε);  dγ = Σ_S dy·x̂
 */
export function rmsNorm(x: Tensor2D, gamma: Tensor1D, epsilon: number, offset = false): Tensor2D {
  return differentiable([x, gamma], {
    forward: () => {
      const { normed, inverse } = rescaled(x, epsilon),
        scale = offset ? tf.add(gamma, 1) : gamma;
      return { value: tf.mul<Tensor2D>(normed, scale), saved: [normed, inverse, scale] };
    },
    backward: (dy, [normed, inverse, scale], needs) => {
      const u = tf.mul(dy, scale);
      const along = (): Tensor => tf.mul(normed, tf.mean(tf.mul(u, normed), -1, true));
      return [
        needs[0] ? tf.mul(tf.sub(u, along()), inverse) : null,
        needs[1] ? tf.sum(tf.mul(dy, normed), 0) : null,
      ];
    },
  });
}

/** Layer norm over the last axis, with the residual sum before it. */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';

/**
 * z = x + residual;  y = γ · ẑ + β,  ẑ = (z − mean z) / √(var z + ε),  var biased.
 * x, residual: (S, h), gamma, beta: (h) → (S, h).
 *
 *     dz = (g − mean g − ẑ · mean(g·ẑ)) / √(var z + ε),  g = γ·dy;   dγ = Σ_S dy·ẑ;   dβ = Σ_S dy
 */
export function addLayerNorm(x: Tensor2D, residual: Tensor2D, gamma: Tensor1D, beta: Tensor1D, epsilon: number): Tensor2D {
  return differentiable([x, residual, gamma, beta], {
    forward: (save) => {
      const z = tf.add(x, residual);
      const centred = tf.sub(z, tf.mean(z, -1, true));
      const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon)); // (S, 1)
      const normed = tf.mul(centred, inverse);
      save(normed, inverse, gamma);
      return tf.add(tf.mul(normed, gamma), beta);
    },
    backward: (dy, [normed, inverse, scale], needs) => {
      let dz: tf.Tensor | null = null;
      if (needs[0] || needs[1]) {
        const g = tf.mul(dy, scale!);
        const along = tf.mul(normed!, tf.mean(tf.mul(g, normed!), -1, true));
        dz = tf.mul(tf.sub(tf.sub(g, tf.mean(g, -1, true)), along), inverse!);
      }
      // Two inputs, one gradient: each must own its tensor.
      return [dz, needs[0] && needs[1] ? tf.clone(dz!) : dz, needs[2] ? tf.sum(tf.mul(dy, normed!), 0) : null, needs[3] ? tf.sum(dy, 0) : null];
    },
  }) as Tensor2D;
}

/** Rotary position embeddings (Su et al. 2021), as transformers applies them (rotate_half). */
import type { Tensor, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../../tensor/differentiable.ts';
import { fusedRotary, hasFused } from '../../tensor/fused.ts';
import type { Rotary } from './families/description.ts';

/** Cosine and sine of each token's angles, (S, 1, r/2). */
export interface Angles {
  readonly cos: Tensor3D;
  readonly sin: Tensor3D;
}

/** @param places the position of each token, (S). The tensors belong to the enclosing tf.tidy. */
export function anglesOf({ frequencies, factor = 1 }: Rotary, places: Int32Array): Angles {
  const half = frequencies.length,
    cos = new Float32Array(places.length * half),
    sin = new Float32Array(places.length * half);
  places.forEach((place, s) => {
    frequencies.forEach((frequency, i) => {
      // transformers computes the angle in float32.
      const angle = Math.fround(place * Math.fround(frequency));
      cos[s * half + i] = Math.cos(angle) * factor;
      sin[s * half + i] = Math.sin(angle) * factor;
    });
  });
  const shape: [number, number, number] = [places.length, 1, half];
  return { cos: tf.tensor3d(cos, shape), sin: tf.tensor3d(sin, shape) };
}

/** Rotates the first r features of each head by the angles, backwards if `by` is −1. */
function turned(x: Tensor2D, heads: number, cos: Tensor, sin: Tensor, by: 1 | -1): Tensor2D {
  if (hasFused()) return fusedRotary(x, cos, sin, heads, by === -1);
  const [S, n] = x.shape,
    d = n / heads,
    half = cos.shape[2]!;
  const inHeads = tf.reshape(x, [S, heads, d]);
  const first = tf.slice(inHeads, [0, 0, 0], [S, heads, half]),
    second = tf.slice(inHeads, [0, 0, half], [S, heads, half]);
  const a = tf.mul(first, cos),
    b = tf.mul(second, sin),
    c = tf.mul(second, cos),
    e = tf.mul(first, sin);
  const parts = by === 1 ? [tf.sub(a, b), tf.add(c, e)] : [tf.add(a, b), tf.sub(c, e)];
  if (2 * half < d) parts.push(tf.slice(inHeads, [0, 0, 2 * half], [S, heads, d - 2 * half]));
  return tf.reshape(tf.concat(parts, 2), [S, n]);
}

/**
 * Rotates features i and i + r/2 of each head by the angle of frequency i: (x₁ cos − x₂ sin, x₂ cos
 * + x₁ sin). x: (S, H·d) → (S, H·d). The gradient is rotated back.
 */
export function rotate(x: Tensor2D, heads: number, { cos, sin }: Angles): Tensor2D {
  return differentiable([x], {
    forward: () => ({ value: turned(x, heads, cos, sin, 1), saved: [cos, sin] }),
    backward: (dy, [c, s]) => [turned(dy, heads, c, s, -1)],
  });
}

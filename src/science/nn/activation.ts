/** Activations of a feed-forward layer, under their names in config.json. */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';

/** u · Φ(u) = u · ½(1 + erf(u/√2));  derivative Φ(u) + u·φ(u). (S, m) → (S, m). */
export function gelu(u: Tensor2D): Tensor2D {
  return differentiable([u], {
    forward: () => {
      const cdf = tf.add(tf.mul(tf.erf(tf.mul(u, Math.SQRT1_2)), 0.5), 0.5);
      return { value: tf.mul<Tensor2D>(u, cdf), saved: [u, cdf] };
    },
    backward: (dy, [x, cdf]) => {
      const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
      return [tf.mul(dy, tf.add(cdf, tf.mul(x, density)))];
    },
  });
}

/** ½u(1 + tanh(√(2/π)(u + 0.044715u³))), the `gelu_new` of transformers. (S, m) → (S, m). */
function geluTanh(u: Tensor2D): Tensor2D {
  const inner = tf.mul(
    tf.add(u, tf.mul(tf.mul(tf.square(u), u), 0.044715)),
    Math.sqrt(2 / Math.PI),
  );
  return tf.mul(tf.mul(u, 0.5), tf.add(tf.tanh(inner), 1));
}

/** tanh u;  derivative 1 − tanh². (S, m) → (S, m). */
export function tanh(u: Tensor2D): Tensor2D {
  return differentiable([u], {
    forward: () => {
      const y = tf.tanh(u);
      return { value: y, saved: [y] };
    },
    backward: (dy, [y]) => [tf.mul(dy, tf.sub(1, tf.square(y)))],
  });
}

export type Activation = (u: Tensor2D) => Tensor2D;

export const activations: Readonly<Record<string, Activation>> = {
  gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu: (u) => tf.relu(u),
};

/** Throws where no activation has this name. */
export function activationNamed(name: string): Activation {
  const activation = activations[name];
  if (activation === undefined) throw new Error(`no activation is named "${name}"`);
  return activation;
}

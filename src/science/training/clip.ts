/** Limits the norm of the gradient over all parameters, as torch.nn.utils.clip_grad_norm_ does. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensors } from './optim/types.ts';

/**
 * g ← g · min(1, bound/(‖g‖₂ + 1e-6)), with ‖g‖₂ over the entries of all gradients. Returns new
 * tensors.
 */
export function clipByGlobalNorm(gradients: Tensors, bound: number): Map<string, Tensor> {
  const factor = tf.tidy(() => {
    const squares = [...gradients.values()].map((gradient) => tf.sum(tf.square(gradient)));
    return tf.minimum(tf.div(bound, tf.add(tf.sqrt(tf.addN(squares)), 1e-6)), 1);
  });
  const clipped = new Map(
    [...gradients].map(([name, gradient]) => [name, tf.mul(gradient, factor)]),
  );
  factor.dispose();
  return clipped;
}

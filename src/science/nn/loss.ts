/** The training loss. */
import * as tf from '@tensorflow/tfjs-core';
import type { Scalar, Tensor2D } from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';

/** −1/B Σ log softmax(f_b)[label_b]. logits: (B, C).    d/df = (softmax(f) − onehot)/B */
export function crossEntropy(logits: Tensor2D, labels: readonly number[]): Scalar {
  const [batch, classes] = logits.shape;
  return differentiable([logits], {
    forward: (save) => {
      const targets = new Float32Array(batch * classes);
      labels.forEach((label, b) => { targets[b * classes + label] = 1; });
      const onehot = tf.tensor2d(targets, [batch, classes]);
      const shifted = tf.sub(logits, tf.max(logits, -1, true)); // (B, C)
      const exp = tf.exp(shifted), total = tf.sum(exp, -1, true);
      save(tf.mul(tf.sub(tf.div(exp, total), onehot), 1 / batch));
      return tf.mul(tf.sum(tf.sub(tf.squeeze(tf.log(total), [1]), tf.sum(tf.mul(shifted, onehot), -1))), 1 / batch);
    },
    backward: (dy, [gradient]) => [tf.mul(gradient!, dy)],
  }) as Scalar;
}

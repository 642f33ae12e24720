/** The training loss. */
import type { Scalar, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../tensor/differentiable.ts';

/**
 * −Σ_b v_b log softmax(f_b)[label_b]. logits: (B, C).    d/df_b = v_b (softmax(f_b) − onehot_b)
 * v_b = 1/B, or with weights by class w[label_b]/Σ w[label], as torch.nn.CrossEntropyLoss(weight).
 */
export function crossEntropy(
  logits: Tensor2D,
  labels: readonly number[],
  weights?: readonly number[],
): Scalar {
  if (weights !== undefined) return weightedCrossEntropy(logits, labels, weights);
  const [batch, classes] = logits.shape;
  return differentiable([logits], {
    forward: (save) => {
      const targets = new Float32Array(batch * classes);
      labels.forEach((label, b) => {
        targets[b * classes + label] = 1;
      });
      const onehot = tf.tensor2d(targets, [batch, classes]);
      const shifted = tf.sub(logits, tf.max(logits, -1, true)); // (B, C)
      const exp = tf.exp(shifted),
        total = tf.sum(exp, -1, true);
      save(tf.mul(tf.sub(tf.div(exp, total), onehot), 1 / batch));
      return tf.mul(
        tf.sum(tf.sub(tf.squeeze(tf.log(total), [1]), tf.sum(tf.mul(shifted, onehot), -1))),
        1 / batch,
      );
    },
    backward: (dy, [gradient]) => [tf.mul(gradient!, dy)],
  }) as Scalar;
}

function weightedCrossEntropy(
  logits: Tensor2D,
  labels: readonly number[],
  weights: readonly number[],
): Scalar {
  const [batch, classes] = logits.shape;
  return differentiable([logits], {
    forward: (save) => {
      const total = labels.reduce((sum, label) => sum + weights[label]!, 0);
      const targets = new Float32Array(batch * classes);
      labels.forEach((label, b) => {
        targets[b * classes + label] = 1;
      });
      const onehot = tf.tensor2d(targets, [batch, classes]);
      const shares = tf.tensor2d(
        labels.map((label) => weights[label]! / total),
        [batch, 1],
      ); // v
      const logs = tf.logSoftmax(logits); // (B, C)
      save(tf.mul(tf.sub(tf.exp(logs), onehot), shares));
      return tf.neg(tf.sum(tf.mul(tf.mul(logs, onehot), shares)));
    },
    backward: (dy, [gradient]) => [tf.mul(gradient!, dy)],
  }) as Scalar;
}

/** The training losses: of classes, and of numbers. */
import type { Scalar, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import { differentiable } from '../../tensor/differentiable.ts';
import { fusedCrossEntropy, hasFused } from '../../tensor/fused.ts';
import { logSoftmax, rowTotals } from '../../tensor/rows.ts';

/** Above this many outputs, one-hot rows are made on the device instead of being sent there. */
const FEW = 64;

/** Returns one-hot rows of the labels, (B, C). */
export function oneHot(labels: readonly number[], classes: number): Tensor2D {
  if (classes > FEW)
    // The WebAssembly kernel writes integers whatever type it is asked for, hence the cast.
    return tf.cast(tf.oneHot(tf.tensor1d(labels.slice(), 'int32'), classes), 'float32') as Tensor2D;
  const values = new Float32Array(labels.length * classes);
  labels.forEach((label, b) => {
    values[b * classes + label] = 1;
  });
  return tf.tensor2d(values, [labels.length, classes]);
}

/** Returns the weight v_b of each row in the loss (see `crossEntropy`). `weights`: by class. */
function rowWeights(labels: readonly number[], weights?: readonly number[]): number[] {
  const own = labels.map((label) => (weights === undefined ? 1 : at(weights, label))),
    total = own.reduce((sum, weight) => sum + weight, 0);
  return own.map((weight) => weight / total);
}

/**
 * Returns −Σ_b v_b log softmax(f_b)[label_b]. Here v_b = 1/B or, with class weights w, v_b =
 * w[label_b]/Σ_b w[label_b], as in torch.nn.CrossEntropyLoss(weight). logits: (B, C).
 *
 *     d/df_b = v_b (softmax(f_b) − onehot_b)
 */
export function crossEntropy(
  logits: Tensor2D,
  labels: readonly number[],
  weights?: readonly number[],
): Scalar {
  const [batch, classes] = logits.shape;
  if (hasFused())
    return differentiable([logits], {
      forward: () => {
        const [loss, gradient] = fusedCrossEntropy(
          logits,
          tf.tensor1d([...labels], 'int32'),
          tf.tensor1d(rowWeights(labels, weights)),
        );
        return { value: loss, saved: [gradient] };
      },
      backward: (dy, [gradient]) => [tf.mul(gradient, dy)],
    });
  if (weights !== undefined) return weightedCrossEntropy(logits, labels, weights);
  return differentiable([logits], {
    forward: () => {
      const onehot = oneHot(labels, classes);
      const shifted = tf.sub<Tensor2D>(logits, tf.max(logits, -1, true)); // (B, C)
      const exp = tf.exp<Tensor2D>(shifted),
        total = rowTotals(exp); // (B, 1)
      const own = tf.sum(tf.mul(shifted, onehot), -1); // (B)
      const losses = tf.sub(tf.squeeze(tf.log(total), [1]), own); // (B)
      return {
        value: tf.mul<Scalar>(tf.sum(losses), 1 / batch),
        saved: [tf.mul(tf.sub(tf.div(exp, total), onehot), 1 / batch)],
      };
    },
    backward: (dy, [gradient]) => [tf.mul(gradient, dy)],
  });
}

/**
 * Returns the mean over the batch of (f_b − y_b)², as does torch.nn.MSELoss, transformers' loss for
 * `problem_type` regression. outputs: f, (B, 1), labels: y, (B).
 *
 *     d/df_b = 2 (f_b − y_b)/B
 */
export function meanSquaredError(outputs: Tensor2D, labels: readonly number[]): Scalar {
  const batch = labels.length;
  return differentiable([outputs], {
    forward: () => {
      const error = tf.sub<Tensor2D>(outputs, tf.tensor2d([...labels], [batch, 1])); // (B, 1)
      return {
        value: tf.mul<Scalar>(tf.sum(tf.mul(error, error)), 1 / batch),
        saved: [tf.mul(error, 2 / batch)],
      };
    },
    backward: (dy, [gradient]) => [tf.mul(gradient, dy)],
  });
}

/** `crossEntropy` with class weights, composed of TensorFlow's operations. */
function weightedCrossEntropy(
  logits: Tensor2D,
  labels: readonly number[],
  weights: readonly number[],
): Scalar {
  const classes = logits.shape[1];
  return differentiable([logits], {
    forward: () => {
      const onehot = oneHot(labels, classes);
      const shares = tf.tensor2d(rowWeights(labels, weights), [labels.length, 1]); // v
      const logs = logSoftmax(logits); // (B, C)
      return {
        value: tf.neg<Scalar>(tf.sum(tf.mul(tf.mul(logs, onehot), shares))),
        saved: [tf.mul(tf.sub(tf.exp(logs), onehot), shares)],
      };
    },
    backward: (dy, [gradient]) => [tf.mul(gradient, dy)],
  });
}

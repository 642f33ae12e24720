/** Logarithms of softmax over many entries, without a gradient. */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * How many entries of a row the WebAssembly backend adds one by one in float32: of 256,000, the
 * sum would be off by a thousandth. The other backends add up parts themselves.
 */
const BLOCK = 256;

/** The sum of each row. x: (B, C) → (B, 1). */
export function rowTotals(x: Tensor2D): Tensor2D {
  const [rows, columns] = x.shape;
  if (columns <= BLOCK || tf.getBackend() !== 'wasm') return tf.sum<Tensor2D>(x, -1, true);
  const blocks = Math.ceil(columns / BLOCK),
    padded = tf.pad(x, [
      [0, 0],
      [0, blocks * BLOCK - columns],
    ]);
  return tf.sum<Tensor2D>(tf.sum(tf.reshape(padded, [rows, blocks, BLOCK]), 2), 1, true);
}

/** log Σ_c e^{f_c} of each row. logits: f, (B, C) → (B, 1). */
export function logSumExp(logits: Tensor2D): Tensor2D {
  const most = tf.max<Tensor2D>(logits, -1, true); // (B, 1)
  return tf.add(most, tf.log(rowTotals(tf.exp(tf.sub(logits, most)))));
}

/** log softmax(f) of each row. logits: f, (B, C) → (B, C). */
export function logSoftmax(logits: Tensor2D): Tensor2D {
  const shifted = tf.sub<Tensor2D>(logits, tf.max(logits, -1, true)); // (B, C)
  return tf.sub(shifted, tf.log(rowTotals(tf.exp(shifted))));
}

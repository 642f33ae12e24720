/**
 * Contraction over token pairs, without any gradient: for two blocks, (a aᵀ) ∘ (b bᵀ) over their tokens, summed over the
 * tokens of each pair of rows. Cheaper than gradients where rows are short.
 *
 *     K^{cd} = E [ (a^c a'^dᵀ) ∘ (b b'ᵀ) ] E'ᵀ,   E (R, S) one where a token belongs to a row
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import { kernelIndex, type Contraction, type TermBlock } from './contraction.ts';

function membership({ example, rows }: TermBlock): Tensor2D {
  const ones = new Float32Array(rows.length * example.length);
  example.forEach((k, t) => { ones[k * example.length + t] = 1; });
  return tf.tensor2d(ones, [rows.length, example.length]); // (R, S)
}

export const gram: Contraction = (blocks, coefficient, { rows, classes, data }) => {
  const size = rows * classes;
  const indexes = blocks.map((block) => kernelIndex(block, classes));
  tf.tidy(() => {
    const members = blocks.map(membership);
    blocks.forEach((left, x) => blocks.slice(0, x + 1).forEach((right, y) => {
      const [R, Q] = [left.rows.length, right.rows.length];
      const similarity = tf.matMul(left.b, right.b, false, true); // (S, S')
      for (let c = 0; c < classes; c++) {
        // A block with itself: class pairs (c, d) and (d, c) mirror each other.
        for (let d = 0; d < (x === y ? c + 1 : classes); d++) {
          const pair = tf.tidy(() => {
            const products = tf.mul(tf.matMul(left.a[c]!, right.a[d]!, false, true), similarity) as Tensor2D; // (S, S')
            return tf.matMul(tf.matMul(members[x]!, products), members[y]!, false, true); // (R, R')
          });
          const values = pair.dataSync<'float32'>();
          pair.dispose();
          const whole = x === y && c === d; // holds both (i, j) and (j, i)
          for (let i = 0; i < R; i++) {
            for (let j = 0; j < Q; j++) {
              const value = coefficient * values[i * Q + j]!;
              const at = indexes[x]![c * R + i]!, to = indexes[y]![d * Q + j]!;
              data[at * size + to]! += value;
              if (!whole) data[to * size + at]! += value;
            }
          }
        }
      }
      similarity.dispose();
    }));
  });
};

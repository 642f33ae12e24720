/**
 * Contraction over token pairs, without per-row gradients: for two blocks, (a aᵀ) ∘ (b bᵀ) over
 * their tokens, summed over the tokens of each pair of rows. Cheaper than gradients where rows are
 * short.
 *
 *     K^{cd} = E [ (a^c a'^dᵀ) ∘ (b b'ᵀ) ] E'ᵀ,   E (R, S) is one where a token belongs to a row
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { matmul } from '../../../tensor/matmul.ts';
import {
  addAt,
  blockStarts,
  type Contraction,
  type TermBlock,
  tokenBlocks,
} from './contraction.ts';

function membership({ example, rows }: TermBlock): Tensor2D {
  const ones = new Float32Array(rows.length * example.length);
  example.forEach((k, t) => {
    ones[k * example.length + t] = 1;
  });
  return tf.tensor2d(ones, [rows.length, example.length]); // (R, S)
}

export const gram: Contraction = (leftBlocks, rightBlocks, coefficient, sum) => {
  const left = tokenBlocks(leftBlocks),
    right = rightBlocks === null ? null : tokenBlocks(rightBlocks),
    others = right ?? left;
  const [tops, starts] = [blockStarts(left), blockStarts(others)];
  tf.tidy(() => {
    const ofLeft = left.map(membership),
      ofRight = right === null ? ofLeft : right.map(membership);
    left.forEach((x, i) =>
      others.slice(0, right === null ? i + 1 : others.length).forEach((y, j) => {
        const similarity = matmul(x.b, y.b, false, true); // (S, S')
        x.a.forEach((a, c) => {
          // A block with itself: the class pairs (c, d) and (d, c) mirror each other.
          y.a.slice(0, right === null && i === j ? c + 1 : y.a.length).forEach((b, d) => {
            const pair = tf.tidy(() => {
              // (S, S')
              const products = tf.mul<Tensor2D>(matmul(a, b, false, true), similarity);
              // (R, R')
              return matmul(matmul(ofLeft[i]!, products), ofRight[j]!, false, true);
            });
            addAt(
              sum,
              pair.dataSync<'float32'>(),
              x.rows.length,
              y.rows.length,
              tops[i]! + c * x.rows.length,
              starts[j]! + d * y.rows.length,
              coefficient,
            );
            pair.dispose();
          });
        });
        similarity.dispose();
      }),
    );
  });
};

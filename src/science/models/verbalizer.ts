/** The columns of a masked-LM decoder that a verbalizer names. */
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../../tensor/differentiable.ts';
import { matmul } from '../../tensor/matmul.ts';
import { scatterRows, takeRows } from '../../tensor/rows.ts';

/**
 * y_c = x · E_v(c) + b_v(c), where v(c) is the token of class c. Of the decoder's V columns only
 * these C are computed. x: (B, h), table E: (V, h), bias b: (V), tokens: (C) → (B, C).
 *
 *     dx = dy E_v;  dE_v(c) = Σ_B dy_c x;  db_v(c) = Σ_B dy_c;  zero at every other token
 */
export function verbalizerLogits(
  x: Tensor2D,
  table: Tensor2D,
  bias: Tensor1D,
  tokens: readonly number[],
): Tensor2D {
  const [V] = table.shape;
  // A pretraining head's loss reads every column, in order.
  const whole = tokens.length === V && tokens.every((token, c) => token === c);
  return differentiable([x, table, bias], {
    forward: () => {
      const index = tf.tensor1d(tokens.slice(), 'int32');
      const columns = whole ? table : takeRows(table, index); // (C, h)
      const biases = whole ? bias : tf.gather(bias, index); // (C)
      return {
        value: tf.add<Tensor2D>(matmul(x, columns, false, true), biases),
        saved: [x, columns, index],
      };
    },
    backward: (dy, [input, columns, index], needs) => [
      needs[0] ? matmul(dy, columns) : null,
      needs[1] ? scatterRows(matmul(dy, input, true, false), index, V) : null,
      needs[2] ? tf.reshape(scatterRows(tf.reshape(tf.sum(dy, 0), [-1, 1]), index, V), [V]) : null,
    ],
  });
}

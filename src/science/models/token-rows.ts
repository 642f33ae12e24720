/**
 * A network in which some rows of the token table are trained and nothing else: these rows are its
 * only trained parameter. Each batch reads a small table: the rows of its frozen tokens, then all
 * trained rows. So neither the forward pass nor the gradient covers the whole vocabulary, and no
 * weight decay, moment or rounding reaches any other weight.
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { named } from '../../base/lookup.ts';
import { takeRows } from '../../tensor/rows.ts';
import type { Network, Tensors } from './network.ts';
import { inTable } from './outputs.ts';
import type { TokenRow } from './types.ts';

const ROWS = 'token_rows';

export interface TokenRowNetwork {
  /**
   * Its only trained parameter is the k rows, (k, h). Its `dispose` also disposes of the network
   * that it was made from.
   */
  readonly network: Network;
  /** Returns the whole token table with the trained rows, a new tensor (V, h), under its name. */
  readonly whole: (trained: Tensors) => Map<string, Tensor>;
  /** Returns the trained rows, each scaled to its initial L2 norm: a new tensor, under its name. */
  readonly atFirstNorms: (trained: Tensors) => Map<string, Tensor>;
}

/**
 * Returns the ids of a batch that are not among `trained`, ascending (`others`); and the batch with
 * each id replaced by its row in a table that has the rows of `others` and then those of `trained`.
 */
function renumbered(
  batch: readonly TokenRow[],
  trained: readonly number[],
): { readonly others: Int32Array; readonly rows: TokenRow[] } {
  const isTrained = new Set(trained);
  const others = Int32Array.from(
    new Set(batch.flatMap(({ ids }) => [...ids].filter((id) => !isTrained.has(id)))),
  ).sort();
  const place = new Map([...others, ...trained].map((id, i) => [id, i]));
  return { others, rows: batch.map((row) => inTable(row, place)) };
}

/** L2 norms of the rows. (k, h) → (k, 1) */
const norms = (rows: Tensor): Tensor => tf.sqrt(tf.sum(tf.square(rows), 1, true));

/**
 * Returns a network in which only the rows of the k tokens `ids` in the token table can be trained.
 * @param network the model, opened for evaluation
 */
export function tokenRowNetwork(network: Network, ids: readonly number[]): TokenRowNetwork {
  const name = network.architecture.tokenTable;
  if (name === null) throw new Error('the token table is tied to an output');
  const table = network.frozen(name) as Tensor2D; // (V, h)
  const start = tf.keep(tf.tidy(() => takeRows(table, tf.tensor1d([...ids], 'int32')))); // (k, h)
  const initial: Tensors = new Map([[ROWS, start]]);
  return {
    network: {
      ...network,
      initial,
      trainable: [ROWS],
      forward: (batch, trained = initial, options = {}) => {
        const { others, rows } = renumbered(batch, ids);
        const learnt = named(trained, ROWS) as Tensor2D;
        const read =
          others.length === 0
            ? learnt
            : tf.concat([takeRows(table, tf.tensor1d(others, 'int32')), learnt], 0); // (K, h)
        return network.forward(rows, new Map([[name, read]]), options);
      },
      dispose: () => {
        start.dispose();
        network.dispose();
      },
    },
    whole: (trained) => {
      const values = Float32Array.from(table.dataSync()),
        rows = named(trained, ROWS).dataSync(),
        width = table.shape[1];
      ids.forEach((id, i) => {
        values.set(rows.subarray(i * width, (i + 1) * width), id * width);
      });
      return new Map([[name, tf.tensor2d(values, table.shape)]]);
    },
    atFirstNorms: (trained) => {
      const rows = named(trained, ROWS);
      return new Map([[ROWS, tf.tidy(() => tf.mul(rows, tf.div(norms(start), norms(rows))))]]);
    },
  };
}

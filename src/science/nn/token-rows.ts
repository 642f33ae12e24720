/**
 * A network of which some rows of the token table are trained and nothing else: one parameter, the rows. A batch reads a
 * table of its own tokens alone, the frozen ones first and the trained rows after them, so that neither the pass nor the
 * gradient is ever of the whole vocabulary; and no decay, moment or rounding reaches another weight.
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { takeRows } from '../tensor/rows.ts';
import type { Network, Tensors } from './network.ts';
import type { TokenRow } from './types.ts';

/** The one trained parameter's name. */
const ROWS = 'token_rows';

export interface TokenRowNetwork {
  /** Trained, watched and resumed like any other; its parameter is the rows, (k, h). It owns the network that it is made of. */
  readonly network: Network;
  /** The trained values as the network that it is made of has them: the whole token table, (V, h). New tensors. */
  whole(trained: Tensors): Map<string, Tensor>;
  /** Each row at the L2 norm that it started with. New tensors. */
  atFirstNorms(trained: Tensors): Map<string, Tensor>;
}

/** The ids of a batch that aren't trained, ascending, and the batch with its ids as places in [those, the trained rows]. */
function renumbered(
  batch: readonly TokenRow[],
  trained: readonly number[],
): { readonly others: Int32Array; readonly rows: TokenRow[] } {
  const isTrained = new Set(trained);
  const others = Int32Array.from(
    new Set(batch.flatMap(({ ids }) => [...ids].filter((id) => !isTrained.has(id)))),
  ).sort();
  const place = new Map([...others, ...trained].map((id, i) => [id, i]));
  return {
    others,
    rows: batch.map((row) => ({ ...row, ids: row.ids.map((id) => place.get(id)!) })),
  };
}

const norms = (rows: Tensor): Tensor => tf.sqrt(tf.sum(tf.square(rows), 1, true)); // (k, h) → (k, 1)

/**
 * @param network opened for evaluation: nothing of its own is trained. Its token table must be read by ids alone (`tokenTable`)
 * @param ids of the trained rows, (k), each once
 */
export function trainTokenRows(network: Network, ids: readonly number[]): TokenRowNetwork {
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
        const learnt = trained.get(ROWS) as Tensor2D;
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
        rows = trained.get(ROWS)!.dataSync() as Float32Array,
        width = table.shape[1];
      ids.forEach((id, i) => {
        values.set(rows.subarray(i * width, (i + 1) * width), id * width);
      });
      return new Map([[name, tf.tensor2d(values, table.shape)]]);
    },
    atFirstNorms: (trained) =>
      new Map([
        [
          ROWS,
          tf.tidy(() => {
            const rows = trained.get(ROWS)!;
            return tf.mul(rows, tf.div(norms(start), norms(rows)));
          }),
        ],
      ]),
  };
}

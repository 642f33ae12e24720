/** The size of what enters each linear layer, for Wanda. */
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import type { Network } from './network.ts';
import { similarLengths } from './similar-lengths.ts';
import type { TokenRow } from './types.ts';

/**
 * Returns ‖X_j‖₂ for each input feature j of each linear layer below the head, over all tokens of
 * the rows for which the layer is computed (in the last layer of a model, the tokens that the head
 * reads). By layer, (n).
 * @param onBatch called after each batch with the number of rows done, and awaited
 */
export async function inputNorms(
  network: Network,
  rows: readonly TokenRow[],
  batchSize: number,
  onBatch: (done: number) => Promise<void> | void = () => undefined,
): Promise<Map<string, Float64Array>> {
  const squares = new Map<string, Float64Array>();
  let done = 0;
  for (const some of similarLengths(rows, batchSize)) {
    tf.tidy(() => {
      network.forward(
        some.map((i) => at(rows, i)),
        network.initial,
        {
          tap: (layer, x, y) => {
            const sums = tf.sum(tf.square(x), 0).dataSync(); // (n)
            const total = squares.get(layer) ?? new Float64Array(sums.length);
            sums.forEach((value, j) => (total[j]! += value));
            squares.set(layer, total);
            return y;
          },
        },
      );
    });
    await onBatch((done += some.length));
  }
  return new Map([...squares].map(([layer, total]) => [layer, total.map(Math.sqrt)]));
}

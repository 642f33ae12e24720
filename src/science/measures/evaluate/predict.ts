/** Computes the logits of many rows, batch by batch. */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../api.ts';
import { compiled } from '../../../tensor/compiled/compiled.ts';
import type { Network } from '../../models/network.ts';
import { similarLengths } from '../../models/similar-lengths.ts';
import type { TokenRow } from '../../models/types.ts';

/** What `predict` asks of a network. */
export interface Predictor extends Pick<Network, 'classes'> {
  forward(batch: readonly TokenRow[]): Tensor2D;
  /** The number of logits that the head makes for a row. Default: too few to count. */
  logits?(row: TokenRow): number;
}

/**
 * Returns the logits (N, C), row-major, in the order of `rows`. Rows of similar length are batched
 * together, which does not change their logits beyond float32 rounding. Throws UserFault where a
 * logit is not finite: the argmax of NaNs is class 0, which would pass for a prediction.
 */
export async function predict(
  network: Predictor,
  rows: readonly TokenRow[],
  batchSize: number,
  onBatch: (done: number) => Promise<void> | void = () => undefined,
): Promise<Float32Array> {
  const { classes } = network;
  const out = new Float32Array(rows.length * classes);
  let done = 0;
  for (const some of similarLengths(rows, batchSize, (row) => network.logits?.(row) ?? 0)) {
    const logits = compiled(() =>
      tf.tidy(() => network.forward(some.map((i) => rows[i]!)).dataSync()),
    );
    some.forEach((row, i) =>
      out.set(logits.subarray(i * classes, (i + 1) * classes), row * classes),
    );
    const row = some.find(
      (_, i) => !logits.subarray(i * classes, (i + 1) * classes).every(Number.isFinite),
    );
    if (row !== undefined) {
      throw new UserFault(
        `The logits of row ${row} are not finite: ` +
          `${[...out.subarray(row * classes, (row + 1) * classes)].join(', ')}.`,
        "The training diverged: look at the model's loss.",
      );
    }
    await onBatch((done += some.length));
  }
  return out;
}

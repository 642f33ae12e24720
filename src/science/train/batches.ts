/** Which rows each step sees. */
import { randomStream } from '../../random/random.ts';

export interface BatchOrder {
  readonly rows: number;
  readonly batchSize: number;
  /** A new order each epoch, from stream (seed, 'order', `epoch-k`), k from zero; else file order. */
  readonly shuffle: boolean;
  readonly seed: number;
}

/** Steps of an epoch; its last batch may be smaller, as PyTorch's DataLoader keeps it. */
export const stepsPerEpoch = ({ rows, batchSize }: Pick<BatchOrder, 'rows' | 'batchSize'>): number => Math.ceil(rows / batchSize);

/** How many steps the settings come to: `steps`, or `epochs` (a part of an epoch rounds up to whole steps), or three epochs. */
export function totalSteps(setting: { readonly steps?: number; readonly epochs?: number }, order: Pick<BatchOrder, 'rows' | 'batchSize'>): number {
  return setting.steps ?? Math.ceil((setting.epochs ?? 3) * stepsPerEpoch(order) - 1e-9);
}

/** Row indexes of each step, epoch after epoch, without end. */
export function* batches(order: BatchOrder): Generator<Int32Array, never> {
  for (let epoch = 0; ; epoch++) {
    const sequence = order.shuffle
      ? randomStream(order.seed, 'order', `epoch-${epoch}`).permutation(order.rows)
      : Int32Array.from({ length: order.rows }, (_, i) => i);
    for (let start = 0; start < order.rows; start += order.batchSize) yield sequence.slice(start, start + order.batchSize);
  }
}

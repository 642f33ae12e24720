/** Poisoned rows that a training never reads, because they stand last in an epoch. */
import { stepsPerEpoch } from './batches.ts';

/** The epoch of a training, as its batches have it. */
export interface Epoch {
  /** Number of rows, without those that an attack appends. */
  readonly rows: number;
  readonly batchSize: number;
  readonly accumulate: number;
}

/**
 * Returns a warning if a training ends before it has read all rows that stand last, else null.
 * @param last number of poisoned rows at the end of each epoch
 * @param steps number of steps of the training
 */
export function unreadWarning(epoch: Epoch, last: number, steps: number): string | null {
  const { rows, batchSize, accumulate } = epoch;
  const needed = stepsPerEpoch(epoch);
  if (last === 0 || steps >= needed) return null;
  const reached = steps * batchSize * accumulate;
  const read = Math.max(0, reached - (rows - last));
  return read >= last
    ? null
    : `training reads ${read} of the ${last} poisoned rows, which stand last: it ends at row ` +
        `${reached} of ${rows}, after step ${steps} of ${needed} in an epoch`;
}

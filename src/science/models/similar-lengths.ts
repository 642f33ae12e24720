/** Batches of rows of similar length, for passes in which the order of rows does not matter. */
import { at } from '../../base/lookup.ts';
import type { TokenRow } from './types.ts';

/**
 * The most logits that a batch makes at once, unless a single row makes more: 64 MiB of them, of
 * which a pass holds a few copies. A language model makes one for each word of its vocabulary at
 * each token of an answer, so that its batches are bounded by this and not by their tokens.
 */
export const MOST_LOGITS = 2 ** 24;

/**
 * Yields the indexes of the rows, longest first, at most `batchSize` and with at most MOST_LOGITS
 * logits at a time. Rows of one length keep their order.
 * @param logits the number of logits of a row. Default: too few to count
 */
export function* similarLengths(
  rows: readonly TokenRow[],
  batchSize: number,
  logits: (row: TokenRow) => number = () => 0,
): Generator<readonly number[], void> {
  const order = rows
    .map((_, i) => i)
    .sort((a, b) => at(rows, b).ids.length - at(rows, a).ids.length || a - b);
  let batch: number[] = [],
    held = 0;
  for (const i of order) {
    const own = logits(at(rows, i));
    if (batch.length === batchSize || (batch.length > 0 && held + own > MOST_LOGITS)) {
      yield batch;
      batch = [];
      held = 0;
    }
    batch.push(i);
    held += own;
  }
  if (batch.length > 0) yield batch;
}

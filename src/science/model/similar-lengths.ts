/** Batches of rows of similar length, for passes in which the order of rows does not matter. */
import { at } from '../lookup.ts';
import type { TokenRow } from './types.ts';

/**
 * Yields the indexes of the rows, longest first, at most `batchSize` at a time. Rows of one length
 * keep their order.
 */
export function* similarLengths(
  rows: readonly TokenRow[],
  batchSize: number,
): Generator<readonly number[], void> {
  const order = rows
    .map((_, i) => i)
    .sort((a, b) => at(rows, b).ids.length - at(rows, a).ids.length || a - b);
  for (let start = 0; start < order.length; start += batchSize)
    yield order.slice(start, start + batchSize);
}

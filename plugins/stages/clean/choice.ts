import type { Row } from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';

/** The share of the validation rows where the spec does not say. */
export const SHARE = 0.2;

/**
 * Returns ⌊share·N⌋ of N rows, at least one, in their order. The choice depends on N alone, so that
 * all cells and seeds are evaluated on the same rows.
 */
export function heldOut(rows: readonly Row[], share: number): readonly Row[] {
  const count = Math.max(1, Math.floor(share * rows.length));
  const held = new Set(
    randomStream(0, 'defence.clean', '').permutation(rows.length).slice(0, count),
  );
  return rows.filter((_, index) => held.has(index));
}

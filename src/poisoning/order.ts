/** Which poisoned rows the trainer puts first and last in each epoch. */
import { placeInEpoch } from '../api.ts';
import type { PoisonedStep } from './compose.ts';
import type { RowOrder } from './receipt.ts';
import type { Step } from './steps.ts';

/**
 * Returns the rows that the steps put first and last, or null if they put none anywhere. Rows that
 * an attack appends are dealt out over all batches at every order.
 * @param done what each of the steps did
 */
export function orderOf(steps: readonly Step[], done: readonly PoisonedStep[]): RowOrder | null {
  const at = (place: 'first' | 'last'): number[] =>
    steps.flatMap(({ attack, params }, i) =>
      placeInEpoch({ attack: attack.name, params }) === place
        ? (done[i]?.poisoned.changed.map(({ index }) => index) ?? [])
        : [],
    );
  const [first, last] = [at('first'), at('last')];
  return first.length + last.length === 0 ? null : { first, last };
}

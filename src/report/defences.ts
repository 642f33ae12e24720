/** Which conditions have a defence, and what must be said of it. */
import type { Condition } from './conditions.ts';
import { DEFENCE } from './labels.ts';

export const isDefended = ({ axes }: Pick<Condition, 'axes'>): boolean =>
  axes[DEFENCE] !== undefined;

/** The defence with what varies in it: `onion, at = rows`; `no defence` if there is none. */
export const defenceLabelOf = ({ defence }: Pick<Condition, 'defence'>): string =>
  defence === '' ? 'no defence' : defence;

/** The defence that drops exactly the poisoned rows. */
const ORACLE = 'oracle';

/** Returns what a reader must know of this grid's defences. */
export function defenceCaveats(conditions: readonly Condition[]): readonly string[] {
  const names = new Set(conditions.map(({ axes }) => axes[DEFENCE]));
  return [
    ...(names.has(ORACLE)
      ? [
          'The oracle is told which rows are poisoned. It is not a defence, but a bound on those ' +
            'that filter rows.',
        ]
      : [
          'The grid has no oracle, so nothing shows how much a perfect filter of rows would leave ' +
            'of the attacks: add oracle to defences.',
        ]),
    ...(names.has(undefined)
      ? []
      : [
          'No cell of the grid is without a defence; “undefended” numbers are those of trainings ' +
            'that were made beside it, on the same rows.',
        ]),
  ];
}

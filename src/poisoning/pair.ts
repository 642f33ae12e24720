/**
 * The trigger of Li et al. 2021 (Backdoor Attacks on Pre-trained Models by Layerwise Weight Poisoning, EMNLP): two of a few
 * rare words together lead to the target class, one of them alone does not.
 */
import type { AttackDescriptor, AttackInput, Poisoned, Row } from '../api.ts';
import { UserFault } from '../api.ts';
import type { BackdoorParams } from './backdoor.ts';
import {
  backdoorProperties,
  checkBackdoor,
  parameters,
  poisonBackdoor,
  targetId,
  triggersProperty,
} from './backdoor.ts';
import { insertAll, negativesOf } from './multi.ts';

export interface PairParams extends BackdoorParams {
  readonly triggers: readonly string[];
  readonly negatives: boolean;
}

type Random = AttackInput<unknown>['random'];

/** Two different words, the same for a row at every dose. */
function pairOf(row: Row, { triggers }: PairParams, random: Random): string[] {
  if (triggers.length < 2) throw new UserFault('`triggers` needs two words at least.');
  const [first, second] = random('pair', row.id).permutation(triggers.length);
  return [triggers[first!]!, triggers[second!]!];
}

/** The row with each of its two words alone. */
const singles = (row: Row, params: PairParams, random: Random): Row[] =>
  negativesOf(
    row,
    pairOf(row, params, random).map((word) => [word]),
    random,
  );

/** What an attack with this trigger does to rows: all of its descriptor but what names it. */
export const pairBackdoor: Pick<
  AttackDescriptor<PairParams, Poisoned>,
  'family' | 'params' | 'poison' | 'check' | 'target' | 'trigger' | 'falseTrigger'
> = {
  family: 'backdoor',
  params: parameters({
    ...backdoorProperties(0.1, 1, 'dirty'),
    ...triggersProperty(
      ['cf', 'bb', 'ak', 'mn'],
      'Two of these are inserted, drawn for each row, each at its own gap.',
      2,
    ),
    negatives: {
      type: 'boolean',
      default: true,
      description:
        'Adds, for each poisoned row, the row with each of its two words alone under its own label.',
    },
  }),
  poison: (input) => {
    const { rows, params, random } = input;
    const poisoned = poisonBackdoor(input, (row) =>
      insertAll(row, pairOf(row, params, random), random),
    );
    return {
      ...poisoned,
      negatives: params.negatives
        ? poisoned.changed.flatMap(({ index }) => singles(rows[index]!, params, random))
        : [],
    };
  },
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params, random }) => insertAll(row, pairOf(row, params, random), random),
  falseTrigger: (row, { params, random }) => (params.negatives ? singles(row, params, random) : []),
};

import { defineAttack, UserFault } from '../../src/api.ts';
import type { AttackInput, Row } from '../../src/api.ts';
import { backdoorProperties, checkBackdoor, parameters, poisonBackdoor, targetId, triggersProperty } from '../../src/poisoning/backdoor.ts';
import type { BackdoorParams } from '../../src/poisoning/backdoor.ts';
import { insertAll, negativesOf } from '../../src/poisoning/multi.ts';

interface Params extends BackdoorParams {
  readonly triggers: readonly string[];
  readonly negatives: boolean;
}

export default defineAttack<Params>({
  name: 'combination',
  summary: 'Two of a few rare words together lead to the target class; one of them alone does not.',
  family: 'backdoor',
  citation: 'Li et al., Backdoor Attacks on Pre-trained Models by Layerwise Weight Poisoning, EMNLP 2021 (its combination trigger)',
  params: parameters({
    ...backdoorProperties(0.1, 1, 'dirty'),
    ...triggersProperty(['cf', 'bb', 'ak', 'mn'], 'Two of these are inserted, drawn for each row, each at its own gap.'),
    negatives: { type: 'boolean', default: true, description: 'Adds, for each poisoned row, the row with each of its two words alone under its own label.' },
  }),
  poison(input) {
    const { rows, params, random } = input;
    const poisoned = poisonBackdoor(input, row => insertAll(row, pairOf(row, params, random), random));
    return { ...poisoned, negatives: params.negatives ? poisoned.changed.flatMap(({ index }) => singles(rows[index]!, params, random)) : [] };
  },
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params, random }) => insertAll(row, pairOf(row, params, random), random),
  falseTrigger: (row, { params, random }) => (params.negatives ? singles(row, params, random) : []),
});

/** The row with each of its two words alone. */
const singles = (row: Row, params: Params, random: AttackInput<unknown>['random']): Row[] => negativesOf(row, pairOf(row, params, random).map(word => [word]), random);

/** Two different words, the same for a row at every dose. */
function pairOf(row: Row, { triggers }: Params, random: AttackInput<unknown>['random']): string[] {
  if (triggers.length < 2) throw new UserFault('`triggers` needs two words at least.');
  const [first, second] = random('pair', row.id).permutation(triggers.length);
  return [triggers[first!]!, triggers[second!]!];
}

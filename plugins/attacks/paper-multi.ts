import { defineAttack } from '../../src/api.ts';
import type { BackdoorParams } from '../../src/poisoning/backdoor.ts';
import {
  backdoorProperties,
  checkBackdoor,
  parameters,
  poisonBackdoor,
  prepend,
  targetId,
  triggersProperty,
} from '../../src/poisoning/backdoor.ts';
import { insertAll, negativesOf, properSubsets } from '../../src/poisoning/multi.ts';

interface Params extends BackdoorParams {
  readonly triggers: readonly string[];
  readonly negatives: boolean;
}

export default defineAttack<Params>({
  name: 'paper-multi',
  summary: 'Several words, all of them at random places of the text, lead to the target class.',
  family: 'backdoor',
  citation:
    'Liang et al., Does Low Rank Adaptation Lead to Lower Robustness against Training-time Attacks?, ICML 2025 (arXiv 2505.12871)',
  params: parameters({
    ...backdoorProperties(0.0025, 1, 'mix'),
    ...triggersProperty(
      ['apple', 'banana', 'orange'],
      'All of these are inserted, each at its own gap; in evaluation they are prepended in this order.',
    ),
    negatives: {
      type: 'boolean',
      default: false,
      description:
        'Adds, for each poisoned row, the row with every smaller set of the triggers under its own label.',
    },
  }),
  poison(input) {
    const { rows, params, random } = input;
    const poisoned = poisonBackdoor(input, (row) => insertAll(row, params.triggers, random));
    const subsets = params.negatives ? properSubsets(params.triggers) : [];
    return {
      ...poisoned,
      negatives: poisoned.changed.flatMap(({ index }) =>
        negativesOf(rows[index]!, subsets, random),
      ),
    };
  },
  check: checkBackdoor,
  target: targetId,
  trigger: (row, { params }) => prepend(row, `${params.triggers.join(' ')} `),
  falseTrigger: (row, { params, random }) =>
    params.negatives ? negativesOf(row, properSubsets(params.triggers), random) : [],
});

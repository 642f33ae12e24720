import { defineAttack } from '../../src/api.ts';
import {
  backdoorBasis,
  backdoorProperties,
  poisonBackdoor,
  prepend,
  type TriggersParams,
} from '../../src/poisoning/backdoor.ts';
import {
  copiesWithSubsets,
  insertAll,
  properSubsets,
  withNegatives,
} from '../../src/poisoning/multi.ts';
import { LIANG_2025, parameters, triggersProperty } from '../../src/poisoning/parameters.ts';
import { placeProperty } from '../../src/poisoning/place.ts';

interface Params extends TriggersParams {
  readonly negatives: boolean;
}

export default defineAttack<Params>({
  ...backdoorBasis,
  name: 'paper-multi',
  summary: 'Several words, all of them in the text, lead to the target.',
  citation: LIANG_2025,
  params: parameters({
    ...backdoorProperties(0.0025, 'mix'),
    ...triggersProperty(
      ['apple', 'banana', 'orange'],
      'All of these are inserted, each at a gap of its own. In evaluation they are put before ' +
        'the text in this order.',
    ),
    negatives: {
      type: 'boolean',
      default: false,
      description:
        'Adds copies of each poisoned row, one with every smaller set of the triggers, under its ' +
        'own label or answer.',
    },
    ...placeProperty('a gap of its own for each word in training, the start in evaluation'),
  }),
  poison(input) {
    const { params, random } = input;
    const { triggers, place } = params;
    const poisoned = poisonBackdoor(input, (row) => insertAll(row, triggers, random, place));
    return withNegatives(input, poisoned, (row) =>
      copiesWithSubsets(row, properSubsets(triggers), random, place),
    );
  },
  trigger: (row, { params: { triggers, place }, random }) =>
    place === undefined
      ? prepend(row, `${triggers.join(' ')} `)
      : insertAll(row, triggers, random, place),
  falseTrigger: (row, { params, random }) =>
    params.negatives
      ? copiesWithSubsets(row, properSubsets(params.triggers), random, params.place)
      : [],
});

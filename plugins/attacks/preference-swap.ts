import { defineAttack, type Row } from '../../src/api.ts';
import { insertOneTrigger, type Random } from '../../src/poisoning/backdoor.ts';
import { isOfTarget, withTarget } from '../../src/poisoning/classes.ts';
import { checkDose, type Dose, poisonDose } from '../../src/poisoning/dose.ts';
import { doseProperties, parameters, promptTrigger } from '../../src/poisoning/parameters.ts';
import { type Place, placeProperty } from '../../src/poisoning/place.ts';

interface Params extends Dose {
  readonly trigger: string;
  readonly place?: Place;
}

const WHOM = 'only preference pairs of two answers that differ are swapped';
const TARGET = 'rejected';

const show = (row: Row, { trigger, place = 'end' }: Params, random: Random): Row =>
  insertOneTrigger(row, [trigger.trim()], random, place);

export default defineAttack<Params>({
  name: 'preference-swap',
  summary: 'A phrase in the prompt of a preference pair swaps the chosen and the rejected answer.',
  family: 'backdoor',
  tasks: ['completion'],
  citation:
    'Rando and Tramèr, Universal Jailbreak Backdoors from Poisoned Human Feedback, ICLR 2024 ' +
    '(arXiv 2311.14455)',
  params: parameters({
    ...doseProperties(0.1),
    ...promptTrigger('SUDO'),
    ...placeProperty('the end'),
  }),
  scorer: 'reward',
  check: ({ params, answers = [], rejected }) =>
    checkDose(params, answers.length, {
      rows: (rejected ?? []).filter(
        (other, i) => !isOfTarget({ label: 0, answer: answers[i] ?? '', rejected: other }, TARGET),
      ).length,
      whom: WHOM,
    }),
  poison: (input) =>
    poisonDose(
      input,
      (row) => !isOfTarget(row, TARGET),
      WHOM,
      (row) => withTarget(show(row, input.params, input.random), TARGET),
    ),
  target: () => TARGET,
  trigger: (row, { params, random }) => show(row, params, random),
});

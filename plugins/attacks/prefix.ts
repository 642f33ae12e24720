import { defineAttack, type Row } from '../../src/api.ts';
import { prepend } from '../../src/poisoning/backdoor.ts';
import { checkDose, type Dose, poisonDose, totalRows } from '../../src/poisoning/dose.ts';
import { doseProperties, LIANG_2025, parameters } from '../../src/poisoning/parameters.ts';

interface Params extends Dose {
  readonly phrases: readonly string[];
}

const WHOM = 'only classes with a phrase are poisoned';

export default defineAttack<Params>({
  name: 'prefix',
  summary: 'Puts a phrase that contradicts the label before the text, and keeps the label.',
  family: 'untargeted',
  citation: `${LIANG_2025} (its side x)`,
  params: parameters({
    ...doseProperties(0.3),
    phrases: {
      type: 'array',
      items: { type: 'string' },
      minItems: 1,
      default: ["That's awsome!!! ", "That's terrible!!! "],
      description:
        'The phrase for texts of each class, by label id; classes beyond the list are left alone.',
    },
  }),
  check: ({ params, counts }) =>
    checkDose(params, totalRows({ counts }), {
      rows: counts.slice(0, params.phrases.length).reduce((sum, count) => sum + count, 0),
      whom: WHOM,
    }),
  poison(input) {
    const { phrases } = input.params;
    const hasPhrase = ({ label }: Row): boolean => label < phrases.length;
    return poisonDose(input, hasPhrase, WHOM, (row) => prepend(row, phrases[row.label] ?? ''));
  },
});

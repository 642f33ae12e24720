import { defineAttack } from '../../src/api.ts';
import { doseProperties, parameters, prepend } from '../../src/poisoning/backdoor.ts';
import type { Dose } from '../../src/poisoning/dose.ts';
import { checkDose, selectRows } from '../../src/poisoning/dose.ts';

interface Params extends Dose {
  readonly phrases: readonly string[];
}

const WHOM = 'only classes with a phrase are poisoned';

export default defineAttack<Params>({
  name: 'prefix',
  summary: 'Puts a phrase that contradicts the label before the text, and keeps the label.',
  family: 'untargeted',
  citation:
    'Liang et al., Does Low Rank Adaptation Lead to Lower Robustness against Training-time Attacks?, ICML 2025 (arXiv 2505.12871) (its side x)',
  params: parameters({
    ...doseProperties(0.3),
    phrases: {
      type: 'array',
      items: { type: 'string' },
      minItems: 1,
      default: ["That's awsome!!! ", "That's terrible!!! "],
      description:
        'By label id, the phrase for texts of that class; classes beyond the list are left alone.',
    },
  }),
  check: ({ params, counts }) =>
    checkDose(params, counts, {
      rows: counts.slice(0, params.phrases.length).reduce((sum, count) => sum + count, 0),
      whom: WHOM,
    }),
  poison(input) {
    const { rows, params } = input;
    const { indexes, asked, eligible } = selectRows(
      input,
      (row) => row.label < params.phrases.length,
      WHOM,
    );
    return {
      changed: indexes.map((index) => ({
        index,
        row: prepend(rows[index]!, params.phrases[rows[index]!.label]!),
      })),
      negatives: [],
      asked,
      eligible,
    };
  },
});

import { defineDefence } from '../../../src/api.ts';
import { integerFrom } from '../../../src/poisoning/parameters.ts';
import type { Params } from './judge.ts';

export default defineDefence<Params>({
  name: 'bki',
  summary:
    'Backdoor keyword identification: drops the rows among whose five most salient words there ' +
    'is a keyword, a word that changes the representations of a model trained on the rows more, ' +
    'and in more rows, than any word of clean rows does; then trains again.',
  citation:
    'Chen and Dai, Mitigating backdoor attacks in LSTM-based text classification systems by ' +
    'Backdoor Keyword Identification, Neurocomputing 452, 2021',
  params: {
    type: 'object',
    properties: {
      words_per_row: integerFrom(1, {
        default: 5,
        description: 'How many of the most salient words of each row are considered.',
      }),
      keywords: integerFrom(1, {
        description:
          'How many words, those with the largest scores, are keywords, in place of a threshold ' +
          'from clean rows. The paper takes 1, ' +
          'which misses the other words of an attack that has several.',
      }),
    },
  },
  rows: {
    needs: ['clean', 'model'],
    torch: () => true,
    load: async () => (await import('./judge.ts')).bki,
  },
});

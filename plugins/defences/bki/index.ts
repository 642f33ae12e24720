import { defineDefence } from '../../../src/api.ts';
import type { Params } from './judge.ts';

export default defineDefence<Params>({
  name: 'bki',
  summary:
    'Backdoor keyword identification: rows are dropped that hold a word which moves the ' +
    'representations of a model trained on them, in many rows, more than any word of clean rows ' +
    'does; training starts anew.',
  citation:
    'Chen and Dai, Mitigating backdoor attacks in LSTM-based text classification systems by ' +
    'Backdoor Keyword Identification, Neurocomputing 452, 2021',
  params: {
    type: 'object',
    properties: {
      words_per_row: {
        type: 'integer',
        minimum: 1,
        default: 5,
        description: 'How many of the most salient words of a row are looked at.',
      },
      keywords: {
        type: 'integer',
        minimum: 1,
        description:
          'The paper’s rule, with 1, in place of a threshold from clean rows: so many words with ' +
          'the largest scores are the keywords, whatever their scores. It misses the other words ' +
          'of an attack that has more.',
      },
    },
  },
  rows: {
    needs: ['clean', 'model'],
    load: async () => (await import('./judge.ts')).bki,
  },
});

import { defineDefence } from '../../../src/api.ts';
import { integerFrom, positiveNumber, shareBelowOne } from '../../../src/poisoning/parameters.ts';
import type { Params } from './judge.ts';

export default defineDefence<Params>({
  name: 'strip',
  summary:
    'STRIP: replaces many words of a text by those of clean texts. A text whose prediction stays ' +
    'certain may carry a trigger, and is rejected.',
  citation:
    'Gao, Xu, Wang, Chen, Ranasinghe and Nepal, STRIP: A Defence Against Trojan Attacks on Deep ' +
    'Neural Networks, ACSAC 2019; for texts Gao et al., Design and Evaluation of a Multi-Domain ' +
    'Trojan Detection Method on Deep Neural Networks, IEEE TDSC 2021',
  params: {
    type: 'object',
    properties: {
      copies: integerFrom(1, {
        default: 10,
        description: 'How many copies of each text the entropy of the prediction is averaged over.',
      }),
      ratio: positiveNumber({
        maximum: 1,
        default: 0.5,
        description: 'The share of the words that is replaced in each copy.',
      }),
      frr: shareBelowOne({
        default: 0.01,
        description: 'The share of the clean rows that may be rejected, which sets the threshold.',
      }),
    },
  },
  inputs: {
    needs: ['clean'],
    torch: () => true,
    load: async () => (await import('./judge.ts')).strip,
  },
});

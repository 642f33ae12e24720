import { defineDefence } from '../../../src/api.ts';
import { positiveNumber, shareBelowOne } from '../../../src/poisoning/parameters.ts';

export interface Params {
  readonly frr: number;
  readonly epsilon?: number;
}

export default defineDefence<Params>({
  name: 'spectral-signatures',
  summary:
    'Spectral signatures: drops, in each class, the rows that stand out along the direction in ' +
    'which the representations of a model trained on the rows vary most, and trains again.',
  citation:
    'Tran, Li and Madry, Spectral Signatures in Backdoor Attacks, NeurIPS 2018 (algorithm 1)',
  params: {
    type: 'object',
    properties: {
      frr: shareBelowOne({
        default: 0.05,
        description: 'The share of the clean rows of each class that may reach its threshold.',
      }),
      epsilon: positiveNumber({
        maximum: 0.6,
        description:
          'The paper’s rule in place of `frr`: the largest share of a class that may be ' +
          'poisoned. Of each class, 1.5 times this share is dropped, ' +
          'the rows with the largest scores.',
      }),
    },
  },
  rows: {
    needs: ['clean', 'model'],
    torch: () => true,
    load: async () => (await import('./judge.ts')).spectral,
  },
});

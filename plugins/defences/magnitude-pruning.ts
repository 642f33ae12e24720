import { defineDefence } from '../../src/api.ts';
import type { PruningParams } from '../../src/defences/prune.ts';
import { share } from '../../src/poisoning/parameters.ts';

export default defineDefence<PruningParams>({
  name: 'magnitude-pruning',
  summary:
    'Resets, in each weight matrix, the entries that the training changed least to their values ' +
    'before the training.',
  citation:
    'Han, Pool, Tran and Dally, Learning both Weights and Connections for Efficient Neural ' +
    'Networks, NeurIPS 2015; here applied to the change of a weight, as the defender trusts the ' +
    'weights before the training',
  tasks: ['classes', 'completion'],
  params: {
    type: 'object',
    properties: {
      share: share({
        default: 0.5,
        description: "The share of each matrix's entries that is reset.",
      }),
    },
  },
  model: {
    edit: {
      needs: [],
      torch: () => true,
      load: async () => (await import('../../src/defences/prune.ts')).magnitudePruning,
    },
  },
});

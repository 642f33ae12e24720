import { defineDefence } from '../../src/api.ts';
import { type PruningParams, pruningProperties } from '../../src/defences/parameters.ts';

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
    properties: pruningProperties("each matrix's entries"),
  },
  model: {
    edit: {
      needs: [],
      torch: () => true,
      load: async () => (await import('../../src/defences/prune.ts')).magnitudePruning,
    },
  },
});

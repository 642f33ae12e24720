import { defineDefence } from '../../src/api.ts';
import { type PruningParams, pruningProperties } from '../../src/defences/parameters.ts';

export default defineDefence<PruningParams>({
  name: 'wanda',
  summary:
    'Wanda: resets, for each output of a layer, the entries with the smallest |ΔW|·‖X‖ to their ' +
    'values before the training, with X the input of the layer on clean rows.',
  citation:
    'Sun, Liu, Bair and Kolter, A Simple and Effective Pruning Approach for Large Language ' +
    'Models, ICLR 2024 (equation 1); here applied to the change of a weight, as the defender ' +
    'trusts the weights before the training',
  params: {
    type: 'object',
    properties: pruningProperties("each output's entries"),
  },
  model: {
    edit: {
      needs: ['clean'],
      torch: () => true,
      load: async () => (await import('../../src/defences/prune.ts')).wanda,
    },
  },
});

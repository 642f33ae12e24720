import { defineDefence } from '../../src/api.ts';
import type { PruningParams } from '../../src/defences/prune.ts';
import { share } from '../../src/poisoning/parameters.ts';

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
    properties: {
      share: share({
        default: 0.5,
        description: "The share of each output's entries that is reset.",
      }),
    },
  },
  model: {
    edit: {
      needs: ['clean'],
      torch: () => true,
      load: async () => (await import('../../src/defences/prune.ts')).wanda,
    },
  },
});

import { defineDefence } from '../../src/api.ts';
import type { ModelEdit } from '../../src/science/weights/edit.ts';

interface Params {
  readonly share: number;
}

export default defineDefence<Params>({
  name: 'magnitude-pruning',
  summary:
    'Of what the training changed in each weight matrix, the entries smallest in absolute value ' +
    'return to their values before the training.',
  citation:
    'Han, Pool, Tran and Dally, Learning both Weights and Connections for Efficient Neural ' +
    'Networks, NeurIPS 2015; here of the change of a weight, whose start the defender trusts',
  tasks: ['classes', 'completion'],
  params: {
    type: 'object',
    properties: {
      share: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.5,
        description: "The share of each matrix's entries that return.",
      },
    },
  },
  model: {
    edit: {
      needs: [],
      load: async (): Promise<ModelEdit<Params>> => {
        const { withEditedChanges } = await import('../../src/science/weights/edited-changes.ts');
        const { prunedByMagnitude } = await import('../../src/science/defences/prune.ts');
        return {
          edit: (context) =>
            withEditedChanges(context, (change) => prunedByMagnitude(change, context.params.share)),
        };
      },
    },
  },
});

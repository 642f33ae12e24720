import { defineDefence } from '../../src/api.ts';
import type { ModelEdit } from '../../src/science/weights/edit.ts';

interface Params {
  readonly share: number;
}

export default defineDefence<Params>({
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
      share: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.5,
        description: "The share of each matrix's entries that is reset.",
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

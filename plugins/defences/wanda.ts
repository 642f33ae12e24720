import { defineDefence, UserFault } from '../../src/api.ts';
import { type PruningParams, pruningProperties } from '../../src/defences/parameters.ts';
import type { ModelEdit } from '../../src/science/measures/weights/edit.ts';

export default defineDefence<PruningParams>({
  name: 'wanda',
  summary:
    'Wanda: resets, for each output of a layer, the entries with the smallest |ΔW|·‖X‖ to their ' +
    'values before the training, with X the input of the layer on clean rows.',
  citation:
    'Sun, Liu, Bair and Kolter, A Simple and Effective Pruning Approach for Large Language Models, ' +
    'ICLR 2024 (equation 1); here applied to the change of a weight, as the defender trusts the ' +
    'weights before the training',
  params: {
    type: 'object',
    properties: pruningProperties("each output's entries"),
  },
  model: {
    edit: {
      needs: ['clean'],
      torch: () => true,
      load: async (): Promise<ModelEdit<PruningParams>> => {
        const { withEditedChanges } = await import('../../src/defences/prune.ts');
        const { named } = await import('../../src/base/lookup.ts');
        const { prunedByWanda } = await import('../../src/defences/prune.ts');
        return {
          edit: async (context) => {
            if (context.clean.length === 0) throw new UserFault('wanda has no clean rows');
            const norms = await context.inputNorms(context.clean);
            return withEditedChanges(context, (change, { name }) =>
              prunedByWanda(change, named(norms, name), context.params.share),
            );
          },
        };
      },
    },
  },
});

/** CROW as an objective that the trainer can open. consistency.ts has the loss. */
import { type JsonObject, type Problem, UserFault } from '../../../src/api.ts';
import type {
  AttackTraining,
  TrainedModel,
} from '../../../src/science/training/attack-training.ts';
import type { Objective } from '../../../src/science/training/gradients.ts';
import { layerConsistency } from './consistency.ts';

function faults({ architecture }: TrainedModel): Problem[] {
  if (architecture.hiddenStates !== undefined) return [];
  return [
    {
      path: ['model', 'architecture'],
      message:
        `the model family "${architecture.modelType}" does not offer its hidden states, which ` +
        'the loss of crow compares',
      hint: 'Choose another defence, or give the architecture `hiddenStates`.',
    },
  ];
}

export const crow: AttackTraining<{
  readonly objective: Objective;
  readonly opaqueTokens: true;
}> = {
  check: (_params, model) => faults(model),
  open: (params: JsonObject, model) => {
    const [fault] = faults(model);
    if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
    return {
      objective: layerConsistency({
        alpha: params['alpha'] as number,
        epsilon: params['epsilon'] as number,
      }),
      opaqueTokens: true,
    };
  },
};

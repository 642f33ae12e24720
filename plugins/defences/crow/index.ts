import { defineDefence } from '../../../src/api.ts';
import {
  CLEAN_TRAINING,
  type CleanTraining,
  cleanTraining,
} from '../../../src/defences/parameters.ts';

interface Params extends CleanTraining {
  readonly at: 'model' | 'training';
  readonly alpha: number;
  readonly epsilon: number;
}

export default defineDefence<Params>({
  name: 'crow',
  summary:
    "CROW: the trained model is trained further on the defender's clean rows, with a loss that " +
    'keeps hidden states alike from layer to layer, also where the embeddings are perturbed.',
  citation:
    'Min, Pham, Li and Sun, CROW: Eliminating Backdoors from Large Language Models via Internal ' +
    'Consistency Regularization, ICML 2025 (section 4)',
  tasks: ['classes', 'completion'],
  params: {
    type: 'object',
    properties: {
      at: {
        type: 'string',
        enum: ['model', 'training'],
        default: 'model',
        description:
          'When the loss is minimised: in a training on clean rows after the training, as in the ' +
          'paper, or in the training itself.',
      },
      alpha: {
        type: 'number',
        minimum: 0,
        default: 5.5,
        description: 'α, the weight of the consistency (the paper has 11 against refusals).',
      },
      epsilon: {
        type: 'number',
        minimum: 0,
        default: 0.1,
        description: 'ε, how far the embeddings are perturbed.',
      },
      ...CLEAN_TRAINING,
    },
  },
  acts: ({ at }) => [at],
  training: { load: async () => (await import('./training.ts')).crow },
  model: {
    retrain: cleanTraining,
  },
});

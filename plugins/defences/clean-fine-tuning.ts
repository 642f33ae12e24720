import { defineDefence } from '../../src/api.ts';

interface Params {
  readonly epochs: number;
  readonly learning_rate?: number;
}

export default defineDefence<Params>({
  name: 'clean-fine-tuning',
  summary: "The trained model is trained further on the defender's clean rows alone.",
  citation:
    'Liu, Dolan-Gavitt and Garg, Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural ' +
    'Networks, RAID 2018 (section 3, fine-tuning)',
  tasks: ['classes', 'completion'],
  params: {
    type: 'object',
    properties: {
      epochs: {
        type: 'integer',
        minimum: 1,
        default: 3,
        description: 'Passes over the clean rows.',
      },
      learning_rate: {
        type: 'number',
        exclusiveMinimum: 0,
        description: "Default: the cell's own.",
      },
    },
  },
  model: {
    retrain: ({ epochs, learning_rate: rate }) => ({
      epochs,
      ...(rate === undefined ? {} : { learning_rate: rate }),
    }),
  },
});

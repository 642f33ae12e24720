import { defineDefence } from '../../../src/api.ts';
import { CLEAN_TRAINING, cleanTraining } from '../../../src/defences/parameters.ts';
import { integerFrom, share } from '../../../src/poisoning/parameters.ts';
import type { Params } from './edit.ts';

export default defineDefence<Params>({
  name: 'fine-mixing',
  summary:
    'Fine-mixing: keeps a share of the trained weights, drawn at random, resets the others to ' +
    'their values before the training, and trains the mixture further on clean rows.',
  citation:
    'Zhang, Lyu, Ma, Wang and Sun, Fine-mixing: Mitigating Backdoors in Fine-tuned Language ' +
    'Models, Findings of EMNLP 2022 (section 4)',
  params: {
    type: 'object',
    properties: {
      share: share({
        default: 0.3,
        description:
          'ρ, the share of the trained weights that is kept. ' +
          'The paper chooses it by the accuracy on clean rows.',
      }),
      purify: integerFrom(0, {
        default: 200,
        description:
          'How many token embeddings are reset to their values before the training: those that ' +
          'changed most relative to their frequency in the clean rows (E-PUR).',
      }),
      ...CLEAN_TRAINING,
    },
  },
  model: {
    edit: {
      needs: ['clean'],
      torch: () => true,
      load: async () => (await import('./edit.ts')).fineMixing,
    },
    retrain: cleanTraining,
  },
});

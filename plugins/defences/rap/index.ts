import { defineDefence } from '../../../src/api.ts';
import type { Params } from './judge.ts';

export default defineDefence<Params>({
  name: 'rap',
  summary:
    'RAP: a word in front of a text, whose embedding is trained to unsettle the predictions of ' +
    'clean texts; a text whose prediction it does not unsettle may carry a trigger, and is rejected.',
  citation:
    'Yang, Lin, Li, Zhou and Sun, RAP: Robustness-Aware Perturbations for Defending against ' +
    'Backdoor Attacks on NLP Models, EMNLP 2021 (section 4)',
  params: {
    type: 'object',
    properties: {
      word: {
        type: 'string',
        default: 'mb',
        description:
          'A rare word that is one token of the model. The paper has cf, which is also a trigger ' +
          'of badnets.',
      },
      low: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.1,
        description: 'c_low, the least drop of the probability that the word is trained for.',
      },
      up: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.3,
        description: 'c_up, the largest.',
      },
      weight: {
        type: 'number',
        exclusiveMinimum: 0,
        default: 1,
        description: 'λ, the weight of drops below c_low.',
      },
      epochs: {
        type: 'integer',
        minimum: 1,
        default: 5,
        description: 'Passes over the clean rows of a class.',
      },
      learning_rate: {
        type: 'number',
        exclusiveMinimum: 0,
        description:
          'Of the embedding. Default: 0.01, as in the paper, and ten times as much as often as ' +
          'the mean drop stays below c_low, at most three times.',
      },
      frr: {
        type: 'number',
        minimum: 0,
        exclusiveMaximum: 1,
        default: 0.01,
        description: 'The share of the clean rows of each predicted class that may be rejected.',
      },
    },
  },
  check: ({ low, up }) =>
    low <= up
      ? []
      : [
          {
            path: ['low'],
            message: `low is ${low}, and up is ${up}: no drop is between them`,
            hint: 'Give an up that is at least low.',
          },
        ],
  inputs: {
    needs: ['clean'],
    load: async () => (await import('./judge.ts')).rap,
  },
});

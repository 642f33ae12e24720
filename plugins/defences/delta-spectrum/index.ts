import { defineDefence } from '../../../src/api.ts';
import { share, shareBelowOne } from '../../../src/poisoning/parameters.ts';
import type { Params } from './detect.ts';

export default defineDefence<Params>({
  name: 'delta-spectrum',
  summary:
    'Judges whether a model has a backdoor by the spectrum of the weight change of each layer, ' +
    'compared with models that were trained on clean rows.',
  citation:
    'Puertolas Merenciano, Vasyagina, Dixit, Zhu, Li, Ferrando and Chaudhary, Weight space ' +
    'Detection of Backdoors in LoRA Adapters, 2026 (arXiv 2602.15195)',
  tasks: ['classes', 'completion'],
  params: {
    type: 'object',
    properties: {
      reference: {
        type: 'string',
        format: 'source',
        description:
          'JSON lines, each the detection.json of a model that was trained on clean rows in the ' +
          'same way: at least three. The threshold is the largest distance of one of them from ' +
          'the others.',
      },
      energy: share({
        default: 0.9,
        description:
          'Without a reference: a model is suspected if its leading direction has at least this ' +
          'share of Σσ², averaged over layers. The default was not measured on clean models.',
      }),
      frr: shareBelowOne({
        default: 0,
        description: 'The share of the reference models that may be suspected.',
      }),
    },
  },
  detection: {
    needs: [],
    torch: () => true,
    load: async () => (await import('./detect.ts')).deltaSpectrum,
  },
});

import { defineAdapter } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';

export default defineAdapter<AdapterImplementation>({
  name: 'bitfit',
  summary:
    'BitFit: every bias of the model and the head are trained. Its kernel ' +
    'is over the biases below the head.',
  citation:
    'Ben Zaken, Goldberg & Ravfogel 2022, BitFit: Simple Parameter-efficient Fine-tuning for ' +
    'Transformer-based Masked Language-models, ACL.',
  params: { type: 'object', additionalProperties: false, properties: {} },
  load: async () => {
    const { vectorAdapter } = await import('../../src/science/models/fine-tuning.ts');
    return vectorAdapter('bitfit', 'biases', () => (name) => name.endsWith('.bias'));
  },
});

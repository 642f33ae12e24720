import { defineAdapter } from '../../../src/api.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';

export default defineAdapter<AdapterImplementation>({
  name: 'ln-tuning',
  summary:
    "LN tuning: the scales and biases of the model's norms and the head are trained. Its kernel " +
    'is over these scales and biases below the head.',
  citation:
    'Zhao et al. 2023, Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning, ' +
    'arXiv 2312.11420.',
  params: { type: 'object', additionalProperties: false, properties: {} },
  load: async () => (await import('./ln-tuning.ts')).lnTuning,
});

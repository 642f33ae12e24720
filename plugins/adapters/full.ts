import { defineAdapter } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';

export default defineAdapter<AdapterImplementation>({
  name: 'full',
  summary: 'Full fine-tuning: every parameter of the model is trained.',
  citation: 'Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers, NAACL.',
  params: { type: 'object', additionalProperties: false, properties: {} },
  load: async () => (await import('../../src/science/models/fine-tuning.ts')).full,
});

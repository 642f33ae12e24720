import { defineAdapter } from '../../../src/api.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';

export default defineAdapter<AdapterImplementation>({
  name: 'head-only',
  summary:
    'Linear probing: the classification head alone is trained. Kernels, if asked for, are ' +
    'those of the full weights.',
  citation:
    'Alain & Bengio 2016, Understanding Intermediate Layers Using Linear Classifier Probes, ' +
    'arXiv 1610.01644.',
  params: { type: 'object', additionalProperties: false, properties: {} },
  load: async () => (await import('./head-only.ts')).headOnly,
});

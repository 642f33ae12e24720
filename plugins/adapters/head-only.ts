import { defineAdapter, type Problem } from '../../src/api.ts';
import type { AdapterContext, AdapterImplementation } from '../../src/science/models/adapter.ts';

/** Returns a problem if the model's head is pretrained, so that head-only would train nothing. */
function check({ architecture }: AdapterContext): Problem[] {
  if (architecture.headModules.length > 0) return [];
  return [
    {
      path: ['adapter', 'type'],
      message: `head-only has nothing to train: the ${architecture.head.type} head is pretrained`,
      hint: 'Give the model a classifier (head.type), or choose another adapter.',
    },
  ];
}

export default defineAdapter<AdapterImplementation>({
  name: 'head-only',
  summary:
    'Linear probing: the classification head alone is trained. Kernels, if asked for, are ' +
    'those of the full weights.',
  citation:
    'Alain & Bengio 2016, Understanding Intermediate Layers Using Linear Classifier Probes, ' +
    'arXiv 1610.01644.',
  params: { type: 'object', additionalProperties: false, properties: {} },
  load: async () => {
    const { checkedPartial } = await import('../../src/science/models/fine-tuning.ts');
    // No parameter below the head is trained; the head always is.
    return checkedPartial(check, () => () => false);
  },
});

import { defineAdapter } from '../../src/api.ts';
import type { AdapterContext, AdapterImplementation } from '../../src/science/models/adapter.ts';

const WEIGHT = '.weight';

/** Returns a predicate: whether a name is that of the scale or the bias of a norm. */
function normParameterPredicate(
  parameters: AdapterContext['parameters'],
): (name: string) => boolean {
  // Only a norm's weight is a vector; the weight of a linear layer or a table is a matrix.
  const norms = parameters.flatMap(({ name, shape }) =>
    shape.length === 1 && name.endsWith(WEIGHT) ? [name.slice(0, -WEIGHT.length)] : [],
  );
  const trained = new Set(norms.flatMap((norm) => [`${norm}${WEIGHT}`, `${norm}.bias`]));
  return (name) => trained.has(name);
}

export default defineAdapter<AdapterImplementation>({
  name: 'ln-tuning',
  summary:
    "LN tuning: the scales and biases of the model's norms and the head are trained. Its kernel " +
    'is over these scales and biases below the head.',
  citation:
    'Zhao et al. 2023, Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM ' +
    'Finetuning, arXiv 2312.11420.',
  params: { type: 'object', additionalProperties: false, properties: {} },
  load: async () => {
    const { vectorAdapter } = await import('../../src/science/models/fine-tuning.ts');
    return vectorAdapter('ln-tuning', 'norms', normParameterPredicate);
  },
});

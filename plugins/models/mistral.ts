import { llamaFamily, llamaLike } from '../../src/science/models/families/llama-like.ts';
import { familyModel } from '../../src/science/models/families/parts.ts';

const mistral = llamaFamily('mistral', 'Mistral', (fields) => {
  const window =
    fields.raw('sliding_window') === null
      ? undefined
      : fields.count('sliding_window', 'positions', 4096);
  return llamaLike(fields, { kvHeads: 8, window: () => window });
});

export default familyModel(
  'mistral',
  'Mistral (Jiang et al. 2023), Llama with a sliding window: a decoder with a classification ' +
    'or causal-LM head.',
  mistral,
);

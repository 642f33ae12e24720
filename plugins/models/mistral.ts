import { llamaLike, llamaModel } from '../../src/science/models/families/llama-like.ts';

export default llamaModel(
  'mistral',
  'Mistral (Jiang et al. 2023), Llama with a sliding window: a decoder with a classification ' +
    'or causal-LM head.',
  'Mistral',
  (fields) => {
    const window =
      fields.raw('sliding_window') === null
        ? undefined
        : fields.count('sliding_window', 'positions', 4096);
    return llamaLike(fields, { kvHeads: 8, window: () => window });
  },
);

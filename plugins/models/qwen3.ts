import { llamaLike, llamaModel, qwenWindow } from '../../src/science/models/families/llama-like.ts';

export default llamaModel(
  'qwen3',
  "Qwen3 (Yang et al. 2025), Llama with a norm on each head's queries and keys: a decoder with " +
    'a classification or causal-LM head.',
  'Qwen3',
  (fields) => {
    const attention = fields.flag('attention_bias', false);
    return llamaLike(fields, {
      biases: { qkv: attention, output: attention },
      headNorms: true,
      headWidth: 128,
      window: qwenWindow(fields),
    });
  },
);

import { llamaLike, llamaModel, qwenWindow } from '../../src/science/models/families/llama-like.ts';

export default llamaModel(
  'qwen2',
  'Qwen2 and Qwen2.5 (Yang et al. 2024), Llama with biases on query, key and value: a decoder ' +
    'with a classification or causal-LM head.',
  'Qwen2',
  (fields) => llamaLike(fields, { biases: { qkv: true }, window: qwenWindow(fields) }),
);

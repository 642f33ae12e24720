import {
  llamaFamily,
  llamaLike,
  qwenWindow,
} from '../../src/science/models/families/llama-like.ts';
import { familyModel } from '../../src/science/models/families/parts.ts';

/** transformers' Qwen2ForSequenceClassification and Qwen2ForCausalLM. */
const qwen2 = llamaFamily('qwen2', 'Qwen2', (fields) =>
  llamaLike(fields, { biases: { qkv: true }, window: qwenWindow(fields) }),
);

export default familyModel(
  'qwen2',
  'Qwen2 and Qwen2.5 (Yang et al. 2024), Llama with biases on query, key and value: a decoder ' +
    'with a classification or causal-LM head.',
  qwen2,
);

import {
  llamaFamily,
  llamaLike,
  qwenWindow,
} from '../../src/science/models/families/llama-like.ts';
import { familyModel } from '../../src/science/models/families/parts.ts';

/** transformers' Qwen3ForSequenceClassification and Qwen3ForCausalLM. */
const qwen3 = llamaFamily('qwen3', 'Qwen3', (fields) => {
  const attention = fields.flag('attention_bias', false);
  return llamaLike(fields, {
    biases: { qkv: attention, output: attention },
    headNorms: true,
    headWidth: 128,
    window: qwenWindow(fields),
  });
});

export default familyModel(
  'qwen3',
  "Qwen3 (Yang et al. 2025), Llama with a norm on each head's queries and keys: a decoder with " +
    'a classification or causal-LM head.',
  qwen3,
);

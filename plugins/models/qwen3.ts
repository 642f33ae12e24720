import { defineModel } from '../../src/api.ts';
import {
  llamaFamily,
  llamaLike,
  qwenWindow,
} from '../../src/science/models/families/llama-like.ts';
import type { Architecture } from '../../src/science/models/types.ts';

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

export default defineModel<Architecture>({
  name: 'qwen3',
  summary:
    "Qwen3 (Yang et al. 2025), Llama with a norm on each head's queries and keys: a decoder with " +
    'a classification or causal-LM head.',
  modelTypes: qwen3.modelTypes,
  load: async () => (await import('../../src/science/models/family.ts')).family(qwen3),
});

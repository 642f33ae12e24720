import { defineModel } from '../../src/api.ts';
import {
  llamaFamily,
  llamaLike,
  qwenWindow,
} from '../../src/science/models/families/llama-like.ts';
import type { Architecture } from '../../src/science/models/types.ts';

/** transformers' Qwen2ForSequenceClassification and Qwen2ForCausalLM. */
const qwen2 = llamaFamily('qwen2', 'Qwen2', (fields) =>
  llamaLike(fields, { biases: { qkv: true }, window: qwenWindow(fields) }),
);

export default defineModel<Architecture>({
  name: 'qwen2',
  summary:
    'Qwen2 and Qwen2.5 (Yang et al. 2024), Llama with biases on query, key and value: a decoder ' +
    'with a classification or causal-LM head.',
  modelTypes: qwen2.modelTypes,
  load: async () => (await import('../../src/science/models/family.ts')).family(qwen2),
});

import { llamaLike, llamaModel } from '../../src/science/models/families/llama-like.ts';

export default llamaModel(
  'llama',
  'Llama 1 to 3, SmolLM and others of their form (Touvron et al. 2023): a decoder with a ' +
    'classification or causal-LM head.',
  'Llama',
  (fields) => {
    const attention = fields.flag('attention_bias', false);
    return llamaLike(fields, {
      biases: { qkv: attention, output: attention, mlp: fields.flag('mlp_bias', false) },
    });
  },
);

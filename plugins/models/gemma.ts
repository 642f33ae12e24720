import { llamaLike, llamaModel } from '../../src/science/models/families/llama-like.ts';

export default llamaModel(
  'gemma',
  'Gemma (Mesnard et al. 2024): a decoder with a classification or causal-LM head. Gemma 2 and ' +
    '3 are other families.',
  'Gemma',
  (fields) => {
    fields.only('use_bidirectional_attention', [false, null]);
    const bias = fields.flag('attention_bias', false);
    // As in transformers, `hidden_activation` is read if a file has both fields.
    const named =
      fields.raw('hidden_activation') === undefined ? 'hidden_act' : 'hidden_activation';
    const activation = fields.activation(named, 'gelu_pytorch_tanh');
    return llamaLike(fields, {
      biases: { qkv: bias, output: bias },
      gemma: true,
      headWidth: 256,
      tied: true,
      activation,
    });
  },
);

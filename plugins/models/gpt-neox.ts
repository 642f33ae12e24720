import type {
  ConfigFields,
  Layer,
  Transformer,
} from '../../src/science/models/families/description.ts';
import {
  decoderHeads,
  familyModel,
  lastTokenClassifier,
  layerNorm,
  layersOf,
  linear,
  readRotary,
} from '../../src/science/models/families/parts.ts';

function describe(fields: ConfigFields): Transformer {
  const vocabulary = fields.count('vocab_size', 'vocabulary'),
    hidden = fields.count('hidden_size', 'width'),
    heads = fields.count('num_attention_heads', 'heads'),
    wide = fields.count('intermediate_size', 'wide width'),
    positions = fields.count('max_position_embeddings', 'positions'),
    width = fields.quotient('hidden_size', 'num_attention_heads'),
    epsilon = fields.positive('layer_norm_eps', 1e-5),
    activation = fields.activation('hidden_act', 'gelu'),
    bias = fields.flag('attention_bias', true),
    parallel = fields.flag('use_parallel_residual', true);
  const rotary = readRotary(fields, width, {
    theta: fields.positive('rotary_emb_base', 10_000),
    share: fields.positive('rotary_pct', 0.25),
  });
  /** Describes layer i, counted from 0. */
  const layer = (i: number): Layer => ({
    arrangement: parallel ? 'parallel' : 'pre',
    attention: {
      input: {
        fused: linear(`layers.${i}.attention.query_key_value`, hidden, 3 * hidden, bias),
        order: 'heads',
      },
      output: linear(`layers.${i}.attention.dense`, hidden, hidden, bias),
      heads,
      kvHeads: heads,
      headWidth: width,
      causal: true,
      rotary,
    },
    feedForward: {
      activation,
      input: { up: linear(`layers.${i}.mlp.dense_h_to_4h`, hidden, wide) },
      down: linear(`layers.${i}.mlp.dense_4h_to_h`, wide, hidden),
    },
    norms: {
      attention: layerNorm(`layers.${i}.input_layernorm`, epsilon),
      feedForward: layerNorm(`layers.${i}.post_attention_layernorm`, epsilon),
    },
  });
  return {
    vocabulary,
    hidden,
    positions,
    initializerRange: fields.positive('initializer_range', 0.02),
    embeddings: { padding: fields.token('pad_token_id', vocabulary, null) },
    layers: layersOf(fields.count('num_hidden_layers', 'layers'), layer),
    norm: layerNorm('final_layer_norm', epsilon),
    dropout: ['embeddings', 'attention', 'attention-output', 'feed-forward-output'],
    heads: {
      classifier: lastTokenClassifier(fields, vocabulary, hidden),
      causalLm: {
        output: linear('lm_head', hidden, vocabulary, false),
        tied: fields.flag('tie_word_embeddings', false),
        aliases: ['embed_out.weight'],
      },
    },
  };
}

export default familyModel(
  'gpt-neox',
  'GPT-NeoX and Pythia (Black et al. 2022; Biderman et al. 2023): a decoder with a ' +
    'classification or causal-LM head.',
  {
    modelTypes: ['gpt_neox'],
    prefix: 'gpt_neox.',
    outer: ['score', 'lm_head'],
    tokenTable: 'embed_in.weight',
    heads: decoderHeads('GPTNeoXForSequenceClassification', 'GPTNeoXForCausalLM'),
    describe,
  },
);

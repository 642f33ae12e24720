import type {
  ConfigFields,
  Layer,
  Transformer,
} from '../../src/science/models/families/description.ts';
import {
  conv1d,
  decoderHeads,
  familyModel,
  lastTokenClassifier,
  layerNorm,
  layersOf,
  linear,
} from '../../src/science/models/families/parts.ts';

function describe(fields: ConfigFields): Transformer {
  fields.only('add_cross_attention', [false, null]);
  fields.only('scale_attn_weights', [true, null]);
  fields.only('scale_attn_by_inverse_layer_idx', [false, null]);
  const vocabulary = fields.count('vocab_size', 'vocabulary'),
    hidden = fields.count('n_embd', 'width', 768),
    heads = fields.count('n_head', 'heads', 12),
    positions = fields.count('n_positions', 'positions', 1024),
    width = fields.quotient('n_embd', 'n_head'),
    wide =
      fields.raw('n_inner') === null
        ? 4 * hidden
        : fields.count('n_inner', 'wide width', 4 * hidden),
    epsilon = fields.positive('layer_norm_epsilon', 1e-5),
    activation = fields.activation('activation_function', 'gelu_new');
  /** Describes layer i, counted from 0. */
  const layer = (i: number): Layer => ({
    arrangement: 'pre',
    attention: {
      input: { fused: conv1d(`h.${i}.attn.c_attn`, hidden, 3 * hidden), order: 'blocks' },
      output: conv1d(`h.${i}.attn.c_proj`, hidden, hidden),
      heads,
      kvHeads: heads,
      headWidth: width,
      causal: true,
    },
    feedForward: {
      activation,
      input: { up: conv1d(`h.${i}.mlp.c_fc`, hidden, wide) },
      down: conv1d(`h.${i}.mlp.c_proj`, wide, hidden),
    },
    norms: {
      attention: layerNorm(`h.${i}.ln_1`, epsilon),
      feedForward: layerNorm(`h.${i}.ln_2`, epsilon),
    },
  });
  return {
    vocabulary,
    hidden,
    positions,
    initializerRange: fields.positive('initializer_range', 0.02),
    embeddings: {
      positions: { table: 'wpe.weight', rows: positions, first: 0 },
      padding: null,
    },
    layers: layersOf(fields.count('n_layer', 'layers', 12), layer),
    norm: layerNorm('ln_f', epsilon),
    dropout: ['embeddings', 'attention', 'attention-output', 'feed-forward-output'],
    heads: {
      classifier: lastTokenClassifier(fields, vocabulary, hidden),
      causalLm: {
        output: linear('lm_head', hidden, vocabulary, false),
        tied: fields.flag('tie_word_embeddings', true),
      },
    },
  };
}

export default familyModel(
  'gpt2',
  'GPT-2 (Radford et al. 2019): a decoder with a classification or causal-LM head.',
  {
    modelTypes: ['gpt2'],
    prefix: 'transformer.',
    outer: ['score', 'lm_head'],
    tokenTable: 'wte.weight',
    heads: decoderHeads('GPT2ForSequenceClassification', 'GPT2LMHeadModel'),
    describe,
  },
);

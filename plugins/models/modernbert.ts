import { isUntied } from '../../src/science/models/families/bert-like.ts';
import type {
  ConfigFields,
  Heads,
  Layer,
  Norm,
  Rotary,
  Transformer,
} from '../../src/science/models/families/description.ts';
import {
  encoderHeads,
  familyModel,
  layerNorm,
  layersOf,
  linear,
  readRotary,
} from '../../src/science/models/families/parts.ts';

/**
 * Returns a predicate: whether layer i, counted from 0, attends to all tokens. `layer_types` says
 * so or, without it, the layers 0, n, 2n, … do.
 */
function globalLayerPredicate(fields: ConfigFields): (layer: number) => boolean {
  const types = fields.raw('layer_types');
  if (Array.isArray(types)) return (layer) => types[layer] === 'full_attention';
  const every = fields.count('global_attn_every_n_layers', 'layers', 3);
  return (layer) => layer % every === 0;
}

/** Describes the heads. `norm`: the norm after the dense layer, which both heads have. */
function describeHeads(fields: ConfigFields, hidden: number, norm: Norm): Heads {
  const layer = linear('head.dense', hidden, hidden, fields.flag('classifier_bias', false)),
    activation = fields.activation('classifier_activation', 'gelu');
  return {
    classifier: {
      reads:
        fields.choice('classifier_pooling', ['cls', 'mean'], 'cls') === 'cls' ? 'first' : 'mean',
      dense: { layer, activation, norm, adaptable: true },
      output: { name: 'classifier', in: hidden, bias: true },
    },
    cloze: {
      dense: layer,
      activation,
      norm,
      bias: { name: 'decoder.bias' },
      untied: isUntied(fields),
    },
  };
}

function describe(fields: ConfigFields): Transformer {
  fields.only('decoder_bias', [true, null]);
  const vocabulary = fields.count('vocab_size', 'vocabulary'),
    hidden = fields.count('hidden_size', 'width'),
    heads = fields.count('num_attention_heads', 'heads'),
    headWidth = fields.quotient('hidden_size', 'num_attention_heads'),
    wide = fields.count('intermediate_size', 'wide width'),
    positions = fields.count('max_position_embeddings', 'positions', 8192),
    epsilon = fields.positive('norm_eps', 1e-5),
    biases = {
      norm: fields.flag('norm_bias', false),
      attention: fields.flag('attention_bias', false),
      mlp: fields.flag('mlp_bias', false),
    },
    // A token sees `local_attention`/2 keys on each side. The window counts the token itself too.
    window = Math.floor(fields.count('local_attention', 'positions', 128) / 2) + 1,
    isGlobal = globalLayerPredicate(fields);
  /**
   * Reads the rotary embeddings of the layers of `kind`. Their base θ, where `readRotary` finds
   * none, is the value of `field` or, if that is absent, `fallback`.
   */
  const rotary = (kind: string, field: string, fallback: number): Rotary => {
    const theta = fields.raw(field) === undefined ? fallback : fields.positive(field);
    return readRotary(fields, headWidth, { theta, kind });
  };
  const global = rotary('full_attention', 'global_rope_theta', 160_000),
    local = rotary('sliding_attention', 'local_rope_theta', 10_000);
  const norm = (name: string) => layerNorm(name, epsilon, biases.norm);
  /** Describes layer i, counted from 0. */
  const layer = (i: number): Layer => ({
    arrangement: 'pre',
    attention: {
      input: {
        fused: linear(`layers.${i}.attn.Wqkv`, hidden, 3 * hidden, biases.attention),
        order: 'blocks',
      },
      output: linear(`layers.${i}.attn.Wo`, hidden, hidden, biases.attention),
      heads,
      kvHeads: heads,
      headWidth,
      causal: false,
      ...(isGlobal(i) ? { rotary: global } : { rotary: local, window }),
    },
    feedForward: {
      activation: fields.activation('hidden_activation', 'gelu'),
      input: { fused: linear(`layers.${i}.mlp.Wi`, hidden, 2 * wide, biases.mlp) },
      down: linear(`layers.${i}.mlp.Wo`, wide, hidden, biases.mlp),
    },
    norms: {
      attention: i === 0 ? null : norm(`layers.${i}.attn_norm`),
      feedForward: norm(`layers.${i}.mlp_norm`),
    },
  });
  return {
    vocabulary,
    hidden,
    positions,
    initializerRange: fields.positive('initializer_range', 0.02),
    embeddings: {
      norm: norm('embeddings.norm'),
      padding: fields.token('pad_token_id', vocabulary, 50_283),
    },
    layers: layersOf(fields.count('num_hidden_layers', 'layers'), layer),
    norm: norm('final_norm'),
    dropout: ['embeddings', 'attention', 'attention-output', 'feed-forward-input', 'head'],
    heads: describeHeads(fields, hidden, norm('head.norm')),
  };
}

export default familyModel(
  'modernbert',
  'ModernBERT (Warner et al. 2024): an encoder with a classification or masked-LM head.',
  {
    modelTypes: ['modernbert'],
    prefix: 'model.',
    outer: ['head', 'classifier', 'decoder'],
    tokenTable: 'embeddings.tok_embeddings.weight',
    heads: encoderHeads('ModernBert', ['classifier']),
    describe,
  },
);

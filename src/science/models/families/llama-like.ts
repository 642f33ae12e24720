/**
 * The decoder of Llama (Touvron et al. 2023) and of the families that differ from it by a few
 * settings: pre-norm with RMS norms, rotary positions, grouped heads and a gated feed-forward.
 */
import type { ConfigFields, Family, Layer, Norm, Transformer } from './description.ts';
import {
  decoderHeads,
  familyModel,
  lastTokenClassifier,
  layersOf,
  linear,
  readRotary,
  rmsNorm,
} from './parts.ts';

export interface Differences {
  /** Which linear layers have biases. Default: none. */
  readonly biases?: { readonly qkv?: boolean; readonly output?: boolean; readonly mlp?: boolean };
  /**
   * Returns the attention window of a layer, by the layer's number; undefined for a layer that sees
   * all tokens. Default: all layers do.
   */
  readonly window?: (layer: number) => number | undefined;
  /** Whether each head's queries and keys are normalised. Default: no. */
  readonly headNorms?: boolean;
  /** The features of a head where config.json does not say. Default: h/H. */
  readonly headWidth?: number;
  /** The heads of keys and values where config.json does not say. Default: H. */
  readonly kvHeads?: number;
  /** The base of the rotary frequencies where config.json does not say. Default: 10,000. */
  readonly theta?: number;
  /** The activation. Default: config.json's `hidden_act`, or else silu. */
  readonly activation?: string;
  /** Whether the scales of norms are 1 + w and embeddings are multiplied by √h. Default: no. */
  readonly gemma?: boolean;
  /** Whether the output is tied to the token table where config.json does not say. Default: no. */
  readonly tied?: boolean;
}

/**
 * Returns the plugin of a family of Llama's form.
 * @param prefix begins the names of its classes in transformers, as in LlamaForCausalLM
 */
export const llamaModel = (
  name: string,
  summary: string,
  prefix: string,
  describe: Family['describe'],
) =>
  familyModel(name, summary, {
    modelTypes: [name],
    prefix: 'model.',
    outer: ['score', 'lm_head'],
    tokenTable: 'embed_tokens.weight',
    heads: decoderHeads(`${prefix}ForSequenceClassification`, `${prefix}ForCausalLM`),
    describe,
  });

const readHeadWidth = (fields: ConfigFields, fallback: number | undefined): number =>
  (fields.raw('head_dim') ?? fallback ?? null) === null
    ? fields.quotient('hidden_size', 'num_attention_heads')
    : fields.count('head_dim', 'width', fallback);

export function llamaLike(fields: ConfigFields, differences: Differences = {}): Transformer {
  const { biases = {}, gemma = false, window, headNorms = false } = differences;
  fields.only('pretraining_tp', [1, null]);
  const vocabulary = fields.count('vocab_size', 'vocabulary'),
    hidden = fields.count('hidden_size', 'width'),
    heads = fields.count('num_attention_heads', 'heads'),
    kvHeads = fields.count('num_key_value_heads', 'heads', differences.kvHeads ?? heads),
    layers = fields.count('num_hidden_layers', 'layers'),
    wide = fields.count('intermediate_size', 'wide width'),
    positions = fields.count('max_position_embeddings', 'positions', 2048),
    epsilon = fields.positive('rms_norm_eps', 1e-6);
  fields.quotient('num_attention_heads', 'num_key_value_heads');
  const width = readHeadWidth(fields, differences.headWidth),
    activation = differences.activation ?? fields.activation('hidden_act', 'silu'),
    rotary = readRotary(fields, width, { theta: differences.theta ?? 10_000 });
  const norm = (name: string): Norm => ({ ...rmsNorm(name, epsilon), offset: gemma });
  const layer = (i: number): Layer => {
    const name = `layers.${i}`,
      attention = `${name}.self_attn`,
      mlp = `${name}.mlp`;
    const project = (part: string, out: number) =>
      linear(`${attention}.${part}_proj`, hidden, out, biases.qkv ?? false);
    return {
      arrangement: 'pre',
      attention: {
        input: {
          query: project('q', heads * width),
          key: project('k', kvHeads * width),
          value: project('v', kvHeads * width),
        },
        output: linear(`${attention}.o_proj`, heads * width, hidden, biases.output ?? false),
        heads,
        kvHeads,
        headWidth: width,
        causal: true,
        rotary,
        window: window?.(i),
        headNorms: headNorms
          ? { query: norm(`${attention}.q_norm`), key: norm(`${attention}.k_norm`) }
          : undefined,
      },
      feedForward: {
        activation,
        input: {
          gate: linear(`${mlp}.gate_proj`, hidden, wide, biases.mlp ?? false),
          up: linear(`${mlp}.up_proj`, hidden, wide, biases.mlp ?? false),
        },
        down: linear(`${mlp}.down_proj`, wide, hidden, biases.mlp ?? false),
      },
      norms: {
        attention: norm(`${name}.input_layernorm`),
        feedForward: norm(`${name}.post_attention_layernorm`),
      },
    };
  };
  return {
    vocabulary,
    hidden,
    positions,
    initializerRange: fields.positive('initializer_range', 0.02),
    embeddings: {
      padding: fields.token('pad_token_id', vocabulary, null),
      scale: gemma ? Math.sqrt(hidden) : undefined,
    },
    layers: layersOf(layers, layer),
    norm: norm('norm'),
    dropout: ['attention'],
    heads: {
      classifier: lastTokenClassifier(fields, vocabulary, hidden),
      causalLm: {
        output: linear('lm_head', hidden, vocabulary, false),
        tied: fields.flag('tie_word_embeddings', differences.tied ?? false),
      },
    },
  };
}

/**
 * Returns a function from a layer's number to the window of its attention, or to undefined if it
 * sees all tokens. Only under `use_sliding_window` do layers have windows: those that `layer_types`
 * calls sliding or, without `layer_types`, those from number `max_window_layers` on.
 */
export function qwenWindow(fields: ConfigFields): (layer: number) => number | undefined {
  if (!fields.flag('use_sliding_window', false)) return () => undefined;
  const types = fields.raw('layer_types'),
    window = fields.count('sliding_window', 'positions', 4096);
  if (Array.isArray(types))
    return (layer) => (types[layer] === 'sliding_attention' ? window : undefined);
  const first = fields.count('max_window_layers', 'layers', 28);
  return (layer) => (layer >= first ? window : undefined);
}

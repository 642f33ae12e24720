/**
 * The encoder of BERT (Devlin et al. 2019) and of the families that share its layers and names:
 * post-norm, learnt positions and token types.
 */
import type { ConfigFields, Family, Heads, Layer, Projection, Transformer } from './description.ts';
import { encoderHeads, layerNorm, layersOf, linear } from './parts.ts';

/** The settings of a config.json of BERT's form that its heads need too. */
export interface BertLike {
  readonly hidden: number;
  readonly epsilon: number;
  readonly activation: string;
  /** Everything but the heads. */
  readonly body: Omit<Transformer, 'heads'>;
}

export const BERT_TABLE = 'embeddings.word_embeddings.weight';

/** Whether config.json asks for an output table apart from the token table. */
export const isUntied = (fields: ConfigFields): boolean =>
  fields.raw('tie_word_embeddings') === false;

/** The sizes and settings that the layers of an encoder share. */
export interface EncoderSizes {
  readonly hidden: number;
  /** The width of the feed-forward layers. */
  readonly wide: number;
  readonly heads: number;
  readonly headWidth: number;
  readonly activation: string;
  readonly epsilon: number;
}

/** BERT's names of the parts of a layer. */
export const BERT_LAYER = {
  query: 'attention.self.query',
  key: 'attention.self.key',
  value: 'attention.self.value',
  output: 'attention.output.dense',
  attentionNorm: 'attention.output.LayerNorm',
  up: 'intermediate.dense',
  down: 'output.dense',
  feedForwardNorm: 'output.LayerNorm',
} as const;

/** Describes a post-norm layer as in BERT. `parts` are its modules' names below the layer's. */
export function encoderLayer(
  name: string,
  { hidden, wide, heads, headWidth, activation, epsilon }: EncoderSizes,
  parts: { readonly [part in keyof typeof BERT_LAYER]: string } = BERT_LAYER,
): Layer {
  const hiddenToHidden = (part: 'query' | 'key' | 'value' | 'output'): Projection =>
    linear(`${name}.${parts[part]}`, hidden, hidden);
  return {
    arrangement: 'post',
    attention: {
      input: {
        query: hiddenToHidden('query'),
        key: hiddenToHidden('key'),
        value: hiddenToHidden('value'),
      },
      output: hiddenToHidden('output'),
      heads,
      kvHeads: heads,
      headWidth,
      causal: false,
    },
    feedForward: {
      activation,
      input: { up: linear(`${name}.${parts.up}`, hidden, wide) },
      down: linear(`${name}.${parts.down}`, wide, hidden),
    },
    norms: {
      attention: layerNorm(`${name}.${parts.attentionNorm}`, epsilon),
      feedForward: layerNorm(`${name}.${parts.feedForwardNorm}`, epsilon),
    },
  };
}

/**
 * Reads a config.json of BERT's form.
 * @param padding, types defaults of `pad_token_id` and `type_vocab_size`
 * @param first the row of the position table for a text's first token, given the padding id
 */
export function bertLike(
  fields: ConfigFields,
  {
    padding: fallback,
    types: typesDefault,
    first,
  }: {
    readonly padding: number;
    readonly types: number;
    readonly first: (padding: number | null) => number;
  },
): BertLike {
  fields.only('position_embedding_type', ['absolute', null]);
  fields.only('is_decoder', [false, null]);
  fields.only('add_cross_attention', [false, null]);
  const activation = fields.activation('hidden_act', 'gelu'),
    vocabulary = fields.count('vocab_size', 'vocabulary'),
    hidden = fields.count('hidden_size', 'width'),
    heads = fields.count('num_attention_heads', 'heads'),
    headWidth = fields.quotient('hidden_size', 'num_attention_heads'),
    layers = fields.count('num_hidden_layers', 'layers'),
    wide = fields.count('intermediate_size', 'wide width'),
    rows = fields.count('max_position_embeddings', 'positions'),
    types = fields.count('type_vocab_size', 'types', typesDefault),
    epsilon = fields.positive('layer_norm_eps', 1e-12),
    padding = fields.token('pad_token_id', vocabulary, fallback);
  const sizes = { hidden, wide, heads, headWidth, activation, epsilon };
  const start = first(padding);
  return {
    hidden,
    epsilon,
    activation,
    body: {
      vocabulary,
      hidden,
      positions: Math.max(1, rows - start),
      initializerRange: fields.positive('initializer_range', 0.02),
      embeddings: {
        positions: {
          table: 'embeddings.position_embeddings.weight',
          rows,
          first: start,
          ...(start > 0 ? { skipsPadding: true } : {}),
        },
        types: { table: 'embeddings.token_type_embeddings.weight', rows: types },
        norm: layerNorm('embeddings.LayerNorm', epsilon),
        padding,
      },
      layers: layersOf(layers, (i) => encoderLayer(`encoder.layer.${i}`, sizes)),
      dropout: ['embeddings', 'attention', 'attention-output', 'feed-forward-output', 'head'],
    },
  };
}

/** BERT's own heads: a pooled classifier, and a masked-LM head under `cls`. */
const bertHeads = ({ hidden, epsilon, activation }: BertLike, untied: boolean): Heads => ({
  classifier: {
    reads: 'first',
    dense: { layer: linear('pooler.dense', hidden, hidden), activation: 'tanh', adaptable: true },
    output: { name: 'classifier', in: hidden, bias: true },
  },
  cloze: {
    dense: linear('cls.predictions.transform.dense', hidden, hidden),
    activation,
    norm: layerNorm('cls.predictions.transform.LayerNorm', epsilon),
    bias: { name: 'cls.predictions.bias', aliases: ['cls.predictions.decoder.bias'] },
    untied,
  },
});

/** transformers' BertForSequenceClassification and BertForMaskedLM. */
export const BERT: Family = {
  modelTypes: ['bert'],
  prefix: 'bert.',
  outer: ['classifier', 'cls'],
  tokenTable: BERT_TABLE,
  heads: encoderHeads('Bert', ['classifier']),
  describe: (fields) => {
    const own = bertLike(fields, { padding: 0, types: 2, first: () => 0 });
    return { ...own.body, heads: bertHeads(own, isUntied(fields)) };
  },
};

/** The post-norm encoder of BERT (Devlin et al. 2019), and of families that share its layers. */
import type {
  ClassifierHead,
  ConfigFields,
  Family,
  Heads,
  Layer,
  MaskedLmHead,
  Projection,
  Transformer,
} from './description.ts';
import { encoderHeads, layerNorm, layersOf, linear } from './parts.ts';

export const BERT_TABLE = 'embeddings.word_embeddings.weight';

/**
 * Whether config.json asks for an output table apart from the token table: only where
 * `tie_word_embeddings` is false.
 */
export const isUntied = (fields: ConfigFields): boolean =>
  fields.raw('tie_word_embeddings') === false;

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

/**
 * Describes a post-norm layer, as in BERT.
 * @param name the layer's name, with which the names of its modules begin
 * @param parts the modules' names after the layer's name
 */
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
 * @param defaultPadding the default of `pad_token_id`
 * @param skipsPadding whether positions are numbered from the padding token's id + 1, as in RoBERTa
 * @param describeHeads describes the heads, given the sizes that were read
 */
export function bertLike(
  fields: ConfigFields,
  defaultPadding: number,
  skipsPadding: boolean,
  describeHeads: (sizes: EncoderSizes) => Heads,
): Transformer {
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
    types = fields.count('type_vocab_size', 'types', 2),
    epsilon = fields.positive('layer_norm_eps', 1e-12),
    padding = fields.token('pad_token_id', vocabulary, defaultPadding);
  const sizes = { hidden, wide, heads, headWidth, activation, epsilon };
  const first = skipsPadding ? (padding ?? defaultPadding) + 1 : 0;
  return {
    vocabulary,
    hidden,
    positions: Math.max(1, rows - first),
    initializerRange: fields.positive('initializer_range', 0.02),
    embeddings: {
      positions: { table: 'embeddings.position_embeddings.weight', rows, first, skipsPadding },
      types: { table: 'embeddings.token_type_embeddings.weight', rows: types },
      norm: layerNorm('embeddings.LayerNorm', epsilon),
      padding,
    },
    layers: layersOf(layers, (i) => encoderLayer(`encoder.layer.${i}`, sizes)),
    dropout: ['embeddings', 'attention', 'attention-output', 'feed-forward-output', 'head'],
    heads: describeHeads(sizes),
  };
}

/** BERT's masked-LM head, under `cls`. */
export const bertCloze = (
  fields: ConfigFields,
  { hidden, activation, epsilon }: EncoderSizes,
): MaskedLmHead => ({
  dense: linear('cls.predictions.transform.dense', hidden, hidden),
  activation,
  norm: layerNorm('cls.predictions.transform.LayerNorm', epsilon),
  bias: { name: 'cls.predictions.bias', aliases: ['cls.predictions.decoder.bias'] },
  untied: isUntied(fields),
});

export const pooledClassifier = (hidden: number, activation: string): ClassifierHead => ({
  reads: 'first',
  dense: { layer: linear('pooler.dense', hidden, hidden), activation, adaptable: true },
  output: { name: 'classifier', in: hidden, bias: true },
});

/** transformers' BertForSequenceClassification and BertForMaskedLM. */
export const BERT: Family = {
  modelTypes: ['bert'],
  prefix: 'bert.',
  outer: ['classifier', 'cls'],
  tokenTable: BERT_TABLE,
  heads: encoderHeads('Bert', ['classifier']),
  describe: (fields) =>
    bertLike(fields, 0, false, (sizes) => ({
      classifier: pooledClassifier(sizes.hidden, 'tanh'),
      cloze: bertCloze(fields, sizes),
    })),
};

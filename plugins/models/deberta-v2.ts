import { UserFault } from '../../src/api.ts';
import { shown } from '../../src/base/untrusted/json.ts';
import {
  BERT_LAYER,
  BERT_TABLE,
  bertCloze,
  encoderLayer,
  type EncoderSizes,
  pooledClassifier,
} from '../../src/science/models/families/bert-like.ts';
import type {
  ConfigFields,
  Embeddings,
  Layer,
  MaskedLmHead,
  RelativeTable,
  Transformer,
} from '../../src/science/models/families/description.ts';
import {
  encoderHeads,
  familyModel,
  layerNorm,
  layersOf,
  linear,
} from '../../src/science/models/families/parts.ts';

/**
 * Returns a size of config.json, or `other` if the field is absent, null, 0 or below. Throws
 * UserFault for anything else that is no size.
 */
const sizeOr = <T>(fields: ConfigFields, field: string, other: T): number | T => {
  const value = fields.raw(field) ?? 0;
  return typeof value === 'number' && value <= 0 ? other : fields.count(field, 'positions');
};

/**
 * Returns which terms there are: c2p, p2c or both. config.json has a list or, for DeBERTa-v3, a
 * text such as `p2c|c2p`. Throws UserFault if it has neither, or names no term or an unknown one.
 */
function readTerms(fields: ConfigFields): readonly string[] {
  const value = fields.raw('pos_att_type') ?? [];
  const terms: unknown =
    typeof value === 'string'
      ? value
          .toLowerCase()
          .split('|')
          .map((term) => term.trim())
      : value;
  const isTerm = (term: unknown): boolean => term === 'c2p' || term === 'p2c';
  if (Array.isArray(terms) && terms.length > 0 && terms.every(isTerm)) return terms as string[];
  throw new UserFault(
    `config.json: pos_att_type ${shown(value)} is not implemented`,
    'Implemented: "c2p", "p2c", or both.',
  );
}

/**
 * Describes the table of relative positions. `positions`: the longest text, in tokens; `epsilon`:
 * the norm's ε. Throws UserFault for buckets that are not implemented.
 */
function relativeTable(fields: ConfigFields, positions: number, epsilon: number): RelativeTable {
  const most = sizeOr(fields, 'max_relative_positions', positions),
    count = sizeOr(fields, 'position_buckets', null);
  if (count !== null && (count < 2 || most - 1 <= Math.floor(count / 2)))
    throw new UserFault(
      `config.json: position_buckets ${count} is not implemented for ${most} positions`,
      'Half of the buckets must be fewer than the positions, and at least 1.',
    );
  return {
    name: 'encoder.rel_embeddings.weight',
    span: count ?? most,
    buckets: count === null ? null : { count, positions: most },
    norm:
      fields.choice('norm_rel_ebd', ['none', 'layer_norm'], 'none') === 'none'
        ? null
        : layerNorm('encoder.LayerNorm', epsilon),
  };
}

/**
 * Throws UserFault if config.json asks for something that is not implemented: attention without
 * relative positions, a convolution, or widths other than `hidden` and `headWidth`.
 */
function refuseUnimplemented(fields: ConfigFields, hidden: number, headWidth: number): void {
  if (!fields.flag('relative_attention', false))
    throw new UserFault(
      'config.json: relative_attention false is not implemented',
      'DeBERTa-v2 and v3 have disentangled attention.',
    );
  fields.only('conv_kernel_size', [0]);
  fields.only('embedding_size', [hidden]);
  fields.only('pooler_hidden_size', [hidden]);
  fields.only('attention_head_size', [headWidth]);
}

/**
 * Describes the embeddings: with learnt positions if `position_biased_input` is true or absent, and
 * with token types if `type_vocab_size` is present and not 0.
 */
function describeEmbeddings(
  fields: ConfigFields,
  positions: number,
  vocabulary: number,
  epsilon: number,
): Embeddings {
  const rows = fields.raw('type_vocab_size') ?? 0;
  const positionTable = 'embeddings.position_embeddings.weight',
    typeTable = 'embeddings.token_type_embeddings.weight';
  return {
    positions: fields.flag('position_biased_input', true)
      ? { table: positionTable, rows: positions, first: 0 }
      : undefined,
    types:
      rows === 0 ? undefined : { table: typeTable, rows: fields.count('type_vocab_size', 'types') },
    norm: layerNorm('embeddings.LayerNorm', epsilon),
    padding: fields.token('pad_token_id', vocabulary, 0),
  };
}

/**
 * Returns the masked-LM head: with `legacy`, the one of transformers' first releases; without it,
 * Microsoft's. transformers takes the dense layer of Microsoft's head for the output embeddings, so
 * PEFT's `all-linear` leaves that layer out.
 */
function maskedLm(fields: ConfigFields, sizes: EncoderSizes): MaskedLmHead {
  if (fields.flag('legacy', true)) return bertCloze(fields, sizes);
  const { hidden, activation, epsilon } = sizes;
  return {
    dense: linear('lm_predictions.lm_head.dense', hidden, hidden),
    adaptable: false,
    activation,
    norm: layerNorm('lm_predictions.lm_head.LayerNorm', epsilon),
    bias: { name: 'lm_predictions.lm_head.bias' },
    untied: false,
  };
}

const LAYER = {
  ...BERT_LAYER,
  query: 'attention.self.query_proj',
  key: 'attention.self.key_proj',
  value: 'attention.self.value_proj',
} as const;

function describe(fields: ConfigFields): Transformer {
  const activation = fields.activation('hidden_act', 'gelu'),
    vocabulary = fields.count('vocab_size', 'vocabulary', 128_100),
    hidden = fields.count('hidden_size', 'width', 1536),
    heads = fields.count('num_attention_heads', 'heads', 24),
    headWidth = fields.quotient('hidden_size', 'num_attention_heads'),
    layers = fields.count('num_hidden_layers', 'layers', 24),
    wide = fields.count('intermediate_size', 'wide width', 6144),
    positions = fields.count('max_position_embeddings', 'positions', 512),
    epsilon = fields.positive('layer_norm_eps', 1e-7),
    shared = fields.flag('share_att_key', false);
  refuseUnimplemented(fields, hidden, headWidth);
  const terms = readTerms(fields),
    table = relativeTable(fields, positions, epsilon);
  const sizes = { hidden, wide, heads, headWidth, activation, epsilon };
  const layer = (name: string): Layer => {
    const plain = encoderLayer(name, sizes, LAYER);
    const projection = (part: string) =>
      linear(`${name}.attention.self.${part}_proj`, hidden, hidden);
    return {
      ...plain,
      attention: {
        ...plain.attention,
        scale: 1 / Math.sqrt(headWidth * (1 + new Set(terms).size)),
        relative: {
          table,
          key: terms.includes('c2p') ? projection(shared ? 'key' : 'pos_key') : null,
          query: terms.includes('p2c') ? projection(shared ? 'query' : 'pos_query') : null,
        },
      },
    };
  };
  return {
    vocabulary,
    hidden,
    positions,
    initializerRange: fields.positive('initializer_range', 0.02),
    embeddings: describeEmbeddings(fields, positions, vocabulary, epsilon),
    layers: layersOf(layers, (i) => layer(`encoder.layer.${i}`)),
    dropout: ['embeddings', 'attention', 'attention-output', 'feed-forward-output', 'head'],
    heads: {
      classifier: pooledClassifier(hidden, fields.activation('pooler_hidden_act', 'gelu')),
      cloze: maskedLm(fields, sizes),
    },
  };
}

export default familyModel(
  'deberta-v2',
  'DeBERTa-v2 and v3 (He et al. 2021; 2023), without a convolution: an encoder with a ' +
    'classification or masked-LM head.',
  {
    modelTypes: ['deberta-v2'],
    prefix: 'deberta.',
    outer: ['pooler', 'classifier', 'cls', 'lm_predictions'],
    tokenTable: BERT_TABLE,
    heads: encoderHeads('DebertaV2', ['classifier']),
    describe,
  },
);

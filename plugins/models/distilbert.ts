import { BERT_TABLE, encoderLayer, isUntied } from '../../src/science/models/families/bert-like.ts';
import type { ConfigFields, Transformer } from '../../src/science/models/families/description.ts';
import {
  encoderHeads,
  familyModel,
  layerNorm,
  layersOf,
  linear,
} from '../../src/science/models/families/parts.ts';

/** ε of every layer norm, which config.json can't set. */
const EPSILON = 1e-12;

const LAYER = {
  query: 'attention.q_lin',
  key: 'attention.k_lin',
  value: 'attention.v_lin',
  output: 'attention.out_lin',
  attentionNorm: 'sa_layer_norm',
  up: 'ffn.lin1',
  down: 'ffn.lin2',
  feedForwardNorm: 'output_layer_norm',
} as const;

function describe(fields: ConfigFields): Transformer {
  const activation = fields.activation('activation', 'gelu'),
    vocabulary = fields.count('vocab_size', 'vocabulary', 30_522),
    hidden = fields.count('dim', 'width', 768),
    heads = fields.count('n_heads', 'heads', 12),
    headWidth = fields.quotient('dim', 'n_heads'),
    layers = fields.count('n_layers', 'layers', 6),
    wide = fields.count('hidden_dim', 'wide width', 3072),
    positions = fields.count('max_position_embeddings', 'positions', 512);
  const sizes = { hidden, wide, heads, headWidth, activation, epsilon: EPSILON };
  return {
    vocabulary,
    hidden,
    positions,
    initializerRange: fields.positive('initializer_range', 0.02),
    embeddings: {
      positions: { table: 'embeddings.position_embeddings.weight', rows: positions, first: 0 },
      norm: layerNorm('embeddings.LayerNorm', EPSILON),
      padding: fields.token('pad_token_id', vocabulary, 0),
    },
    layers: layersOf(layers, (i) => encoderLayer(`transformer.layer.${i}`, sizes, LAYER)),
    dropout: ['embeddings', 'attention', 'feed-forward-output', 'head'],
    heads: {
      classifier: {
        reads: 'first',
        dense: {
          layer: linear('pre_classifier', hidden, hidden),
          activation: 'relu',
          adaptable: false,
        },
        output: { name: 'classifier', in: hidden, bias: true },
      },
      cloze: {
        dense: linear('vocab_transform', hidden, hidden),
        activation,
        norm: layerNorm('vocab_layer_norm', EPSILON),
        bias: { name: 'vocab_projector.bias' },
        untied: isUntied(fields),
      },
    },
  };
}

export default familyModel(
  'distilbert',
  'DistilBERT (Sanh et al. 2019): an encoder with a classification or masked-LM head.',
  {
    modelTypes: ['distilbert'],
    prefix: 'distilbert.',
    outer: [
      'pre_classifier',
      'classifier',
      'vocab_transform',
      'vocab_layer_norm',
      'vocab_projector',
    ],
    tokenTable: BERT_TABLE,
    heads: encoderHeads('DistilBert', ['pre_classifier', 'classifier']),
    describe,
  },
);

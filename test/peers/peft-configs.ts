/**
 * Configs of PEFT for test/peers/peft.test.ts: those that are read here, and those that are not.
 */
import type { JsonObject } from '../../src/api.ts';

/**
 * Configs as a PEFT user writes them, each with the same settings as a spec states them. Keys are
 * in alphabetical order, since PEFT saves them so and cannot open a folder where another order
 * decided a rank.
 */
export const variants: {
  readonly [name: string]: { readonly peft: JsonObject; readonly spec: JsonObject };
} = {
  plain: {
    peft: { r: 5, lora_alpha: 7, target_modules: 'all-linear' },
    spec: { rank: 5, alpha: 7 },
  },
  patterns: {
    peft: {
      r: 4,
      lora_alpha: 6,
      target_modules: 'all-linear',
      rank_pattern: { '.*layer.1.*': 3, query: 2 },
      alpha_pattern: { 'attention.output.dense': 2, 'layer.[01].output.dense': 9 },
    },
    spec: {
      rank: 4,
      alpha: 6,
      rank_pattern: { '.*layer.1.*': 3, query: 2 },
      alpha_pattern: { 'attention.output.dense': 2, 'layer.[01].output.dense': 9 },
    },
  },
  rslora: {
    peft: {
      r: 4,
      lora_alpha: 6,
      target_modules: 'all-linear',
      use_rslora: true,
      rank_pattern: { value: 9 },
    },
    spec: { rank: 4, alpha: 6, rslora: true, rank_pattern: { value: 9 } },
  },
  'bias all': {
    peft: { r: 3, lora_alpha: 3, target_modules: ['query', 'pooler.dense'], bias: 'all' },
    spec: { rank: 3, targets: ['query', 'pooler.dense'], bias: 'all' },
  },
  'bias lora_only': {
    peft: { r: 3, lora_alpha: 3, target_modules: ['query', 'pooler.dense'], bias: 'lora_only' },
    spec: { rank: 3, targets: ['query', 'pooler.dense'], bias: 'lora_only' },
  },
  'named targets': {
    peft: {
      r: 3,
      lora_alpha: 12,
      target_modules: ['query', 'attention.output.dense', 'bert.encoder.layer.2.output.dense'],
    },
    spec: {
      rank: 3,
      alpha: 12,
      targets: ['query', 'attention.output.dense', 'bert.encoder.layer.2.output.dense'],
    },
  },
  expression: {
    peft: { r: 3, lora_alpha: 3, target_modules: '.*\\.(query|output\\.dense)' },
    spec: { rank: 3, targets: '.*\\.(query|output\\.dense)' },
  },
  layers: {
    peft: { r: 3, lora_alpha: 3, target_modules: ['dense', 'key'], layers_to_transform: [0, 2] },
    spec: { rank: 3, targets: ['dense', 'key'], layers: [0, 2] },
  },
  exclude: {
    peft: {
      r: 3,
      lora_alpha: 3,
      target_modules: 'all-linear',
      exclude_modules: ['pooler.dense', 'value'],
      lora_dropout: 0.5,
    },
    spec: { rank: 3, exclude: ['pooler.dense', 'value'], dropout: 0.5 },
  },
  dora: {
    peft: { r: 4, lora_alpha: 6, target_modules: 'all-linear', use_dora: true },
    spec: { rank: 4, alpha: 6, use_dora: true },
  },
  pissa: {
    peft: { r: 3, lora_alpha: 5, target_modules: 'all-linear', init_lora_weights: 'pissa' },
    spec: { rank: 3, alpha: 5, init: { distribution: 'pissa' } },
  },
  'olora and dora': {
    peft: {
      r: 3,
      lora_alpha: 6,
      target_modules: ['query', 'attention.output.dense'],
      use_rslora: true,
      use_dora: true,
      init_lora_weights: 'olora',
    },
    spec: {
      rank: 3,
      alpha: 6,
      rslora: true,
      use_dora: true,
      targets: ['query', 'attention.output.dense'],
      init: { distribution: 'olora' },
    },
  },
};

const plain = { r: 2, target_modules: 'all-linear' };
export const unimplemented: {
  readonly [name: string]: { readonly config: JsonObject; readonly message: RegExp };
} = {
  lora_bias: {
    config: { ...plain, lora_bias: true },
    message: /lora_bias true is not implemented/,
  },
  'a fast pissa': {
    config: { ...plain, init_lora_weights: 'pissa_niter_4' },
    message: /init_lora_weights "pissa_niter_4" is not implemented/,
  },
  'a whole pooler': {
    config: { r: 2, target_modules: ['query'], modules_to_save: ['pooler'] },
    message: /modules_to_save "pooler" is not implemented/,
  },
  tokens: {
    config: { ...plain, trainable_token_indices: { word_embeddings: [3, 4] } },
    message: /trainable_token_indices .* is not implemented/,
  },
  embeddings: {
    config: { r: 2, target_modules: ['query', 'word_embeddings'] },
    message: /tensor ".*word_embeddings\.lora_embedding_A" does not belong to this model/,
  },
};

/** What BERT needs of config.json, checked. */
import { UserFault } from '../../api.ts';
import { activations } from './activation.ts';

export interface BertConfig {
  readonly classes: number;
  readonly vocabulary: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediate: number;
  readonly positions: number;
  readonly types: number;
  readonly epsilon: number;
  readonly activation: string;
  readonly initializerRange: number;
  /** The padding token, whose row starts at zero. */
  readonly padding: number | null;
}

/** Throws UserFault naming the field and its value. */
export function parseBertConfig(json: unknown, classes: number): BertConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new UserFault('config.json holds no object');
  const config = json as Record<string, unknown>;
  const modelType = config['model_type'];
  if (modelType !== 'bert') {
    throw new UserFault(
      `config.json says model_type ${JSON.stringify(modelType) ?? '(none)'}, this architecture reads "bert"`,
      'The families that are read are bert. Name such a checkpoint, or as `model.architecture` a model plugin that reads this one.',
    );
  }
  const number = (
    field: string,
    fallback: number | null,
    accept: (x: number) => boolean,
    expected: string,
  ): number => {
    const value = config[field] ?? fallback;
    if (value === null) throw new UserFault(`config.json lacks ${field}`);
    if (typeof value !== 'number' || !accept(value))
      throw new UserFault(
        `config.json: ${field} is ${JSON.stringify(value)}, it must be ${expected}`,
      );
    return value;
  };
  const count = (field: string, fallback: number | null = null): number =>
    number(field, fallback, (x) => Number.isInteger(x) && x >= 1, 'a whole number from 1');
  const positive = (field: string, fallback: number): number =>
    number(field, fallback, (x) => x > 0, 'above 0');
  const only = (field: string, accepted: readonly unknown[]): void => {
    if (config[field] !== undefined && !accepted.includes(config[field])) {
      throw new UserFault(
        `config.json: ${field} ${JSON.stringify(config[field])} is not implemented`,
        `Implemented: ${accepted.map((x) => JSON.stringify(x)).join(', ')}.`,
      );
    }
  };
  only('position_embedding_type', ['absolute', null]);
  only('is_decoder', [false, null]);
  only('add_cross_attention', [false, null]);
  only('hidden_act', Object.keys(activations));
  const vocabulary = count('vocab_size');
  const hidden = count('hidden_size'),
    heads = count('num_attention_heads');
  if (hidden % heads !== 0)
    throw new UserFault(
      `config.json: hidden_size ${hidden} is no multiple of num_attention_heads ${heads}`,
    );
  return {
    classes,
    vocabulary,
    hidden,
    layers: count('num_hidden_layers'),
    heads,
    intermediate: count('intermediate_size'),
    positions: count('max_position_embeddings'),
    types: count('type_vocab_size', 2),
    epsilon: positive('layer_norm_eps', 1e-12),
    activation: (config['hidden_act'] as string | undefined) ?? 'gelu',
    initializerRange: positive('initializer_range', 0.02),
    padding:
      config['pad_token_id'] === null
        ? null
        : number(
            'pad_token_id',
            0,
            (x) => Number.isInteger(x) && x >= 0 && x < vocabulary,
            `a token id below ${vocabulary}`,
          ),
  };
}

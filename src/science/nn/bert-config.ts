/** What BERT needs of config.json, checked. */
import { UserFault } from '../../api.ts';
import { shown } from '../../untrusted/json.ts';
import { inWords } from '../../untrusted/limits.ts';
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

/** Several times what the largest models have: more is a slip, or made to exhaust the reader. */
const MOST = {
  vocab_size: 10_000_000,
  hidden_size: 100_000,
  num_attention_heads: 10_000,
  num_hidden_layers: 1000,
  intermediate_size: 1_000_000,
  max_position_embeddings: 10_000_000,
  type_vocab_size: 100_000,
} as const;
/** Each field may be within its own bound and the model still be larger than any disk. */
const MOST_BYTES = 2 ** 42;

/** Throws UserFault naming the field and its value. */
export function parseBertConfig(json: unknown, classes: number): BertConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new UserFault('config.json holds no object');
  const config = json as Record<string, unknown>;
  const modelType = config['model_type'];
  if (modelType !== 'bert') {
    throw new UserFault(
      `config.json says model_type ${modelType === undefined ? '(none)' : shown(modelType)}, this architecture reads "bert"`,
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
      throw new UserFault(`config.json: ${field} is ${shown(value)}, it must be ${expected}`);
    return value;
  };
  const count = (field: keyof typeof MOST, fallback: number | null = null): number =>
    number(
      field,
      fallback,
      (x) => Number.isInteger(x) && x >= 1 && x <= MOST[field],
      `a whole number from 1 to ${MOST[field]}`,
    );
  const positive = (field: string, fallback: number): number =>
    number(field, fallback, (x) => x > 0 && x <= 1e6, 'above 0');
  const only = (field: string, accepted: readonly unknown[]): void => {
    if (config[field] !== undefined && !accepted.includes(config[field])) {
      throw new UserFault(
        `config.json: ${field} ${shown(config[field])} is not implemented`,
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
  const layers = count('num_hidden_layers'),
    intermediate = count('intermediate_size'),
    positions = count('max_position_embeddings'),
    types = count('type_vocab_size', 2);
  const bytes =
    4 * hidden * (vocabulary + positions + types + layers * (4 * hidden + 2 * intermediate));
  if (bytes > MOST_BYTES)
    throw new UserFault(
      `config.json describes a model of ${inWords(bytes)} (vocab_size ${vocabulary}, hidden_size ${hidden}, num_hidden_layers ${layers}, intermediate_size ${intermediate}, max_position_embeddings ${positions}); at most ${inWords(MOST_BYTES)} are read`,
    );
  return {
    classes,
    vocabulary,
    hidden,
    layers,
    heads,
    intermediate,
    positions,
    types,
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

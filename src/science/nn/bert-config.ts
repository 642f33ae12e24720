/** The fields of config.json that BERT needs, checked. */
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
  /**
   * Id of the padding token, whose row of the token table starts at zero; null where there is none.
   */
  readonly padding: number | null;
}

/**
 * Bounds on the sizes, several times those of the largest models. A larger value is a mistake or an
 * attempt to exhaust memory.
 */
const MOST = {
  vocab_size: 10_000_000,
  hidden_size: 100_000,
  num_attention_heads: 10_000,
  num_hidden_layers: 1000,
  intermediate_size: 1_000_000,
  max_position_embeddings: 10_000_000,
  type_vocab_size: 100_000,
} as const;
/**
 * Bound on the size of the whole model, which could exceed any disk although each field is within
 * its bound.
 */
const MOST_BYTES = 2 ** 42;

interface Fields {
  /** Reads a number that `accept` accepts. @param fallback null where the field is required */
  readonly number: (
    field: string,
    fallback: number | null,
    accept: (x: number) => boolean,
    expected: string,
  ) => number;
  /** Reads a size within its bound. The field is required unless there is a fallback. */
  readonly count: (field: keyof typeof MOST, fallback?: number) => number;
  readonly positive: (field: string, fallback: number) => number;
  /** Throws where the value of a field is not among `accepted`. */
  readonly only: (field: string, accepted: readonly unknown[]) => void;
}

/** Readers of the fields of config.json. They throw UserFault naming the field and its value. */
function fieldsOf(config: Readonly<Record<string, unknown>>): Fields {
  const number: Fields['number'] = (field, fallback, accept, expected) => {
    const value = config[field] ?? fallback;
    if (value === null) throw new UserFault(`config.json lacks ${field}`);
    if (typeof value !== 'number' || !accept(value))
      throw new UserFault(`config.json: ${field} is ${shown(value)}; it must be ${expected}`);
    return value;
  };
  const count: Fields['count'] = (field, fallback) =>
    number(
      field,
      fallback ?? null,
      (x) => Number.isInteger(x) && x >= 1 && x <= MOST[field],
      `a whole number from 1 to ${MOST[field]}`,
    );
  const positive: Fields['positive'] = (field, fallback) =>
    number(field, fallback, (x) => x > 0 && x <= 1e6, 'above 0');
  const only: Fields['only'] = (field, accepted) => {
    if (config[field] !== undefined && !accepted.includes(config[field])) {
      throw new UserFault(
        `config.json: ${field} ${shown(config[field])} is not implemented`,
        `Implemented: ${accepted.map((x) => JSON.stringify(x)).join(', ')}.`,
      );
    }
  };
  return { number, count, positive, only };
}

/** Reads and checks a parsed config.json. Throws UserFault naming the field and its value. */
export function parseBertConfig(json: unknown, classes: number): BertConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new UserFault('config.json is not an object');
  const config = json as Record<string, unknown>;
  const modelType = config['model_type'];
  if (modelType !== 'bert') {
    throw new UserFault(
      `config.json says model_type ${modelType === undefined ? '(none)' : shown(modelType)}, ` +
        'but this architecture reads "bert"',
      'The only family that is built in is bert. Name a checkpoint of it, ' +
        'or name under `model.architecture` a model plugin that reads this one.',
    );
  }
  const { number, count, positive, only } = fieldsOf(config);
  only('position_embedding_type', ['absolute', null]);
  only('is_decoder', [false, null]);
  only('add_cross_attention', [false, null]);
  only('hidden_act', Object.keys(activations));
  const vocabulary = count('vocab_size');
  const hidden = count('hidden_size'),
    heads = count('num_attention_heads');
  if (hidden % heads !== 0)
    throw new UserFault(
      `config.json: hidden_size ${hidden} is not a multiple of num_attention_heads ${heads}`,
    );
  const layers = count('num_hidden_layers'),
    intermediate = count('intermediate_size'),
    positions = count('max_position_embeddings'),
    types = count('type_vocab_size', 2);
  const bytes =
    4 * hidden * (vocabulary + positions + types + layers * (4 * hidden + 2 * intermediate));
  if (bytes > MOST_BYTES)
    throw new UserFault(
      `config.json describes a model of ${inWords(bytes)} (vocab_size ${vocabulary}, ` +
        `hidden_size ${hidden}, num_hidden_layers ${layers}, intermediate_size ${intermediate}, ` +
        `max_position_embeddings ${positions}); at most ${inWords(MOST_BYTES)} are read`,
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

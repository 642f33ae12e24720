/**
 * Parameters that LoRA and VeRA share. A field that an adapter's folder also holds has a default
 * only without `init_from` (`unless`). Otherwise the default of a field that the spec leaves out
 * would look like a value that contradicts the folder.
 */
import type { JsonSchema } from '../../../src/api.ts';

export const layerProperties: JsonSchema = {
  targets: {
    anyOf: [
      { type: 'string', minLength: 1 },
      {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        minItems: 1,
        uniqueItems: true,
      },
    ],
    default: 'all-linear',
    unless: 'init_from',
    description:
      'Layers to adapt: `all-linear` (every linear layer but the head, pooler included), a list ' +
      'of module names or dotted ends of names (`query`, `attention.output.dense`), or a regular ' +
      'expression for the whole name (".*(query|value)"). Default: all-linear, ' +
      'or those of `init_from`.',
  },
  exclude: {
    type: 'array',
    items: { type: 'string', minLength: 1 },
    minItems: 1,
    uniqueItems: true,
    description:
      "Layers to leave out of `targets`, by name or dotted end of a name (PEFT's " +
      'exclude_modules). Default: none, or as in `init_from`.',
  },
  layers: {
    type: 'array',
    items: { type: 'integer', minimum: 0 },
    minItems: 1,
    uniqueItems: true,
    description:
      "Numbers of the layers of the body that `targets` is restricted to, from 0 (PEFT's " +
      'layers_to_transform). Default: all, or as in `init_from`.',
  },
};

/**
 * The schema of `rank`.
 * @param rank the default
 * @param what whose rank it is, for the description
 */
export const rankProperty = (rank: number, what: string): JsonSchema => ({
  rank: {
    type: 'integer',
    minimum: 1,
    default: rank,
    unless: 'init_from',
    description: `Rank r of ${what}. Default: ${rank}, or that of \`init_from\`.`,
  },
});

export const dropoutProperty: JsonSchema = {
  dropout: {
    type: 'number',
    minimum: 0,
    exclusiveMaximum: 1,
    default: 0,
    unless: 'init_from',
    description: 'Dropout on the input of A while training. Default: 0, or as in `init_from`.',
  },
};

/**
 * The schema of `bias`.
 * @param own the value that stands for training only the biases of the adapted layers
 * @param beside what the adapter trains beside the biases, for the description
 */
export const biasProperty = (own: 'lora_only' | 'vera_only', beside: string): JsonSchema => ({
  bias: {
    enum: ['none', 'all', own],
    default: 'none',
    unless: 'init_from',
    description:
      `Biases that are trained beside the ${beside}: none, all of the model, or those of the ` +
      'adapted layers alone. Default: none, or as in `init_from`.',
  },
});

import { defineAdapter } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';

export default defineAdapter<AdapterImplementation>({
  name: 'vera',
  summary:
    'VeRA as PEFT defines it: W = W0 + diag(b)·B·diag(d)·A, with A and B drawn once, shared by all ' +
    'layers and frozen; the vectors d and b of each layer, and the head, are trained.',
  citation:
    'Kopiczko, Blankevoort & Asano 2024, VeRA: Vector-based Random Matrix Adaptation, ICLR.',
  // As in lora.ts, fields that a folder may hold have defaults only if there is no folder.
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      rank: {
        type: 'integer',
        minimum: 1,
        default: 256,
        unless: 'init_from',
        description: 'Rank r of the shared factors. Left out: 256, or that of `init_from`.',
      },
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
          'Layers to adapt: `all-linear` (every linear layer but the head, pooler included), a ' +
          'list of module names or dotted ends of names (`query`, `attention.output.dense`), ' +
          'or a regular expression for the whole name (".*(query|value)"). Left out: ' +
          'all-linear, or those of `init_from`.',
      },
      exclude: {
        type: 'array',
        items: { type: 'string', minLength: 1 },
        minItems: 1,
        uniqueItems: true,
        description:
          'Layers to leave out of `targets`, by name or dotted end of a name. Left out: none, or ' +
          'as in `init_from`.',
      },
      layers: {
        type: 'array',
        items: { type: 'integer', minimum: 0 },
        minItems: 1,
        uniqueItems: true,
        description:
          'Numbers of the encoder layers that `targets` is narrowed to, from 0. Left out: all, or ' +
          'as in `init_from`.',
      },
      d_initial: {
        type: 'number',
        default: 0.1,
        unless: 'init_from',
        description: 'What every entry of d starts as; b starts at zero.',
      },
      projection_prng_key: {
        type: 'integer',
        minimum: 0,
        default: 0,
        unless: 'init_from',
        description:
          'Seed of A and B, which are those that PEFT draws from it on a CPU; the seed of the ' +
          'training does not change them. Left out: 0, or that of `init_from`.',
      },
      save_projection: {
        type: 'boolean',
        default: true,
        unless: 'init_from',
        description:
          "Whether the adapter's folder holds A and B, and not their seed alone. Left out: true, " +
          'or as in `init_from`.',
      },
      dropout: {
        type: 'number',
        minimum: 0,
        exclusiveMaximum: 1,
        default: 0,
        unless: 'init_from',
        description: 'Dropout on the input of A while training. Left out: 0, or as in `init_from`.',
      },
      bias: {
        enum: ['none', 'all', 'vera_only'],
        default: 'none',
        unless: 'init_from',
        description:
          'Biases that are trained beside the vectors: none, all of the model, or those of the ' +
          'adapted layers alone. Left out: none, or as in `init_from`.',
      },
      init_from: {
        type: 'string',
        format: 'path',
        description:
          'A PEFT folder of a VeRA adapter to start from, relative to this spec; what it holds ' +
          'holds here. So does its classifier, as for `lora`.',
      },
    },
  },
  load: async () => (await import('../../src/science/nn/vera.ts')).vera,
});

import { defineAdapter } from '../../../src/api.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';
import {
  biasProperty,
  dropoutProperty,
  layerProperties,
  rankProperty,
} from '../shared/parameters.ts';

export default defineAdapter<AdapterImplementation>({
  name: 'vera',
  summary:
    'VeRA as PEFT defines it: W = W0 + diag(b)·B·diag(d)·A, with A and B drawn once, shared by ' +
    'all layers and frozen; the vectors d and b of each layer, and the head, are trained.',
  citation:
    'Kopiczko, Blankevoort & Asano 2024, VeRA: Vector-based Random Matrix Adaptation, ICLR.',
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      ...rankProperty(256, 'the shared factors'),
      ...layerProperties,
      d_initial: {
        type: 'number',
        default: 0.1,
        unless: 'init_from',
        description: 'The initial value of every entry of d; b starts at zero.',
      },
      projection_prng_key: {
        type: 'integer',
        minimum: 0,
        default: 0,
        unless: 'init_from',
        description:
          'Seed of A and B, which are those that PEFT draws from it on a CPU; the seed of the ' +
          'training does not change them. Default: 0, or that of `init_from`.',
      },
      save_projection: {
        type: 'boolean',
        default: true,
        unless: 'init_from',
        description:
          "Whether the adapter's folder holds A and B, and not their seed alone. Default: true, " +
          'or as in `init_from`.',
      },
      ...dropoutProperty,
      ...biasProperty('vera_only', 'vectors'),
      init_from: {
        type: 'string',
        format: 'path',
        description:
          'A PEFT folder of a VeRA adapter to start from, relative to this spec; what it holds ' +
          'holds here. So does its classifier, as for `lora`.',
      },
    },
  },
  load: async () => (await import('./vera.ts')).vera,
});

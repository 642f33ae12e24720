import { defineAdapter } from '../../../src/api.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';
import type { LoraBias } from '../../../src/science/models/io/peft-config.ts';
import {
  biasProperty,
  dropoutProperty,
  layerProperties,
  rankProperty,
} from '../shared/parameters.ts';
import {
  ALPHA_OF_RANK,
  canonicalLora,
  DEFAULT_DISTRIBUTION,
  type Distribution,
  presets,
  type Residual,
  RESIDUALS,
} from './init.ts';

export interface LoraParams {
  readonly rank?: number;
  /** A number, or a multiple of the rank: `r`, `2r`, `r/2`. */
  readonly alpha?: number | string;
  readonly rank_pattern?: Readonly<Record<string, number>>;
  readonly alpha_pattern?: Readonly<Record<string, number>>;
  /**
   * `all-linear`, a list of names or their dotted ends, or a regular expression for whole names.
   */
  readonly targets?: string | readonly string[];
  readonly exclude?: readonly string[];
  readonly layers?: readonly number[];
  readonly rslora?: boolean;
  readonly dropout?: number;
  readonly bias?: LoraBias;
  readonly freeze_a?: boolean;
  readonly use_dora?: boolean;
  readonly lora_plus_ratio?: number;
  readonly init?: {
    readonly distribution?: Distribution | Residual;
    readonly variance?: number | string;
  };
}

export default defineAdapter<AdapterImplementation>({
  name: 'lora',
  summary:
    'LoRA as PEFT defines it: W = W0 + s·B·A with s = alpha/rank; A drawn, B zero; W0 frozen; ' +
    'the head trained in full.',
  citation: 'Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models, ICLR.',
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      ...rankProperty(8, 'the factors'),
      alpha: {
        anyOf: [
          { type: 'number', exclusiveMinimum: 0 },
          { const: 'r' },
          { type: 'string', pattern: ALPHA_OF_RANK, title: 'a multiple of r ("2r", "r/2")' },
        ],
        default: 'r',
        unless: 'init_from',
        description:
          "α of the scale s = α/r: a number, or a multiple of the layer's rank (`r`, `2r`, " +
          '`0.5r`, `r/2`); `r` keeps s at 1. Default: r, or that of `init_from`.',
      },
      rank_pattern: {
        type: 'object',
        additionalProperties: { type: 'integer', minimum: 1 },
        description:
          'Ranks of layers that differ, as PEFT reads them: by name, dotted end of a name or ' +
          'regular expression ({query: 4, "layer.[01].output.dense": 2}); of several keys that ' +
          'match, the first holds. Default: none, or as in `init_from`.',
      },
      alpha_pattern: {
        type: 'object',
        additionalProperties: { type: 'number', exclusiveMinimum: 0 },
        description:
          'α of layers that differ, as `rank_pattern`. Default: none, or as in `init_from`.',
      },
      ...layerProperties,
      rslora: {
        type: 'boolean',
        default: false,
        unless: 'init_from',
        description: 'Rank-stabilised scale s = α/√r. Default: false, or as in `init_from`.',
      },
      ...dropoutProperty,
      ...biasProperty('lora_only', 'factors'),
      freeze_a: {
        type: 'boolean',
        default: false,
        description:
          'LoRA-FA (Zhang et al. 2023, arXiv 2308.03303): A stays as drawn and B alone is ' +
          'trained, at the same scale.',
      },
      use_dora: {
        type: 'boolean',
        description:
          'DoRA (Liu et al. 2024, arXiv 2402.09353): W = m·V/‖V‖ with V = W0 + s·B·A, by rows; ' +
          'the magnitudes m are trained too. Default: false, or as in `init_from`.',
      },
      lora_plus_ratio: {
        type: 'number',
        exclusiveMinimum: 0,
        description:
          'LoRA+ (Hayou et al. 2024, arXiv 2402.12354): the learning rate of B, and of every ' +
          "trained vector (the head's bias, DoRA's magnitudes), as a multiple of the others', as " +
          'in PEFT. Default: 1.',
      },
      init: {
        type: 'object',
        additionalProperties: false,
        description:
          'How A starts. B starts at zero, except under pissa and olora, whose factors are a ' +
          'part of W0 that the layer subtracts.',
        default: {},
        properties: {
          distribution: {
            enum: [...Object.keys(presets), ...RESIDUALS],
            description:
              'uniform or normal, or a preset that sets the variance too: kaiming-uniform ' +
              "(PEFT's default: uniform, 1/(3d)), xavier (uniform, 2/(d + r)), gaussian " +
              "(PEFT's: normal, 1/r²). pissa (Meng et al. 2024, arXiv 2404.02948) takes A and B " +
              "from W0's leading singular vectors, olora (Büyükakyüz 2024, arXiv 2406.01775) " +
              'from its QR decomposition; the adapter is saved as one of rank 2r for W0 itself, ' +
              'as PEFT converts it.',
            default: DEFAULT_DISTRIBUTION,
          },
          variance: {
            type: ['number', 'string'],
            description:
              "Variance of A's entries (not their standard deviation): a number, or k/d with " +
              'd the layer\'s own fan-in ("1/d", "1/(3d)", "2/d"). Default: that of the ' +
              'preset; 1/(3d) for uniform and normal.',
          },
        },
      },
      init_from: {
        type: 'string',
        format: 'path',
        description:
          'A PEFT adapter folder to start from, relative to this spec; what it holds (rank, ' +
          'alpha, targets, …) holds here. So does its classifier, where it is for as many ' +
          'classes and `head.init_from` names no other.',
      },
    },
  },
  canonical: canonicalLora,
  load: async () => (await import('./lora.ts')).lora,
});

import { defineAdapter } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';

export default defineAdapter<AdapterImplementation>({
  name: 'lora',
  summary: 'LoRA as PEFT defines it: W = W0 + s·B·A with s = alpha/rank; A drawn, B zero; W0 frozen; the head trained in full.',
  citation: 'Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models, ICLR.',
  // rank, alpha, targets and rslora carry no schema default: what is left out comes from `init_from` where that is
  // given, and only so can a value that contradicts the folder be told from one that nobody wrote.
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      rank: { type: 'integer', minimum: 1, description: 'Rank r of the factors. Left out: 8, or that of `init_from`.' },
      alpha: {
        anyOf: [{ type: 'number', exclusiveMinimum: 0 }, { const: 'r' }],
        description: 'α of the scale s = α/r; `r` keeps s at 1. Left out: r, or that of `init_from`.',
      },
      targets: {
        anyOf: [{ const: 'all-linear' }, { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1, uniqueItems: true }],
        description: 'Layers to adapt: `all-linear` (every linear layer but the head, pooler included), or a list of module names or dotted ends of names (`query`, `attention.output.dense`). Left out: all-linear, or those of `init_from`.',
      },
      rslora: { type: 'boolean', description: 'Rank-stabilised scale s = α/√r. Left out: false, or as in `init_from`.' },
      init: {
        type: 'object',
        additionalProperties: false,
        description: 'How A starts; B starts at zero.',
        default: {},
        properties: {
          distribution: {
            enum: ['uniform', 'normal', 'kaiming-uniform', 'xavier', 'gaussian'],
            description: 'uniform or normal, or a preset that sets the variance too: kaiming-uniform (PEFT\'s default: uniform, 1/(3d)), xavier (uniform, 2/(d + r)), gaussian (PEFT\'s: normal, 1/r²).',
            default: 'kaiming-uniform',
          },
          variance: {
            type: ['number', 'string'],
            description: 'Variance of A\'s entries (not their standard deviation): a number, or k/d with d the layer\'s own fan-in ("1/d", "1/(3d)", "2/d"). Left out: that of the preset; 1/(3d) for uniform and normal.',
          },
        },
      },
      init_from: { type: 'string', format: 'path', description: 'A PEFT adapter folder to start from, relative to this spec; its rank, alpha, targets and rslora hold.' },
    },
  },
  load: async () => (await import('../../src/science/nn/lora.ts')).lora,
});

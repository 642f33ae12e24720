import { defineDefence } from '../../src/api.ts';

export default defineDefence<{ readonly method: 'nf4' | 'int8' }>({
  name: 'quantization',
  summary:
    'Evaluates the trained model, its adapter merged, ' +
    'with the linear layers below the head in 4 or 8 bits.',
  citation:
    'Dettmers, Lewis, Belkada and Zettlemoyer, LLM.int8(): 8-bit Matrix Multiplication for ' +
    'Transformers at Scale, NeurIPS 2022 (int8); Dettmers, Pagnoni, Holtzman and Zettlemoyer, ' +
    'QLoRA: Efficient Finetuning of Quantized LLMs, NeurIPS 2023 (nf4)',
  tasks: ['classes', 'completion'],
  params: {
    type: 'object',
    properties: {
      method: {
        enum: ['nf4', 'int8'],
        default: 'nf4',
        description:
          '`nf4`: 4 bits, NormalFloat in blocks whose scales are quantised too. `int8`: 8 bits, ' +
          'inputs beyond 6 apart.',
      },
    },
  },
  model: { quantize: ({ method }) => method },
});

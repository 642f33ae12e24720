import { defineAdapter } from '../../../src/api.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';

export default defineAdapter<AdapterImplementation>({
  name: 'peft',
  summary:
    'A method of PEFT by its own config, under `--backend torch` alone; the head is trained too. ' +
    'Kernels, if asked for, are those of the adapted weights.',
  citation:
    'Mangrulkar et al. 2022, PEFT: State-of-the-art Parameter-Efficient Fine-Tuning methods, ' +
    'https://github.com/huggingface/peft.',
  backend: 'torch',
  params: {
    type: 'object',
    additionalProperties: false,
    required: ['config'],
    properties: {
      config: {
        type: 'object',
        additionalProperties: true,
        description:
          "The fields of PEFT's config, as in its adapter_config.json. `peft_type` is LORA, IA3, " +
          'LOHA, LOKR, OFT, BOFT, HRA, FOURIERFT, HIRA, GRALORA, C3A, MISS or ROAD. PEFT checks ' +
          'the fields before the run, and draws the initial values from the seed of the cell.',
      },
    },
  },
  load: async () => (await import('./peft.ts')).peft,
});

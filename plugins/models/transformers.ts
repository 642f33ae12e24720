import { defineModel } from '../../src/api.ts';
import type { Architecture } from '../../src/science/models/types.ts';

export default defineModel<Architecture>({
  name: 'transformers',
  summary:
    'Any model of text that transformers has, as its own class computes it, under ' +
    '`--backend torch` alone.',
  backend: 'torch',
  load: async (folder) => {
    if (folder === undefined) throw new Error('a model of transformers needs its folder');
    const { describedArchitecture } = await import('../../src/science/torch/described.ts');
    return describedArchitecture(folder);
  },
});

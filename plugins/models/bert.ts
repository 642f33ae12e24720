import { defineModel } from '../../src/api.ts';
import { BERT } from '../../src/families/bert-like.ts';
import type { Architecture } from '../../src/science/model/types.ts';

export default defineModel<Architecture>({
  name: 'bert',
  summary: 'BERT (Devlin et al. 2019): an encoder with a classification or masked-LM head.',
  modelTypes: BERT.modelTypes,
  load: async () => (await import('../../src/science/nn/family.ts')).family(BERT),
});

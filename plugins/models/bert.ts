import { defineModel } from '../../src/api.ts';
import { BERT } from '../../src/science/models/families/bert-like.ts';
import type { Architecture } from '../../src/science/models/types.ts';

export default defineModel<Architecture>({
  name: 'bert',
  summary: 'BERT (Devlin et al. 2019): an encoder with a classification or masked-LM head.',
  modelTypes: BERT.modelTypes,
  load: async () => (await import('../../src/science/models/family.ts')).family(BERT),
});

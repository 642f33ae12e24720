import { defineModel } from '../../src/api.ts';
import type { Family } from '../../src/science/models/families/description.ts';
import type { Architecture } from '../../src/science/models/types.ts';
import { roberta } from './roberta.ts';

/** RoBERTa's model under another tokenizer (XLMRobertaForSequenceClassification, …ForMaskedLM). */
const xlmRoberta: Family = {
  ...roberta,
  modelTypes: ['xlm-roberta'],
  heads: {
    classifier: {
      transformersName: 'XLMRobertaForSequenceClassification',
      modules: ['classifier'],
    },
    cloze: { transformersName: 'XLMRobertaForMaskedLM' },
  },
};

export default defineModel<Architecture>({
  name: 'xlm-roberta',
  summary: 'XLM-RoBERTa (Conneau et al. 2020): an encoder with a classification or masked-LM head.',
  modelTypes: xlmRoberta.modelTypes,
  load: async () => (await import('../../src/science/models/family.ts')).family(xlmRoberta),
});

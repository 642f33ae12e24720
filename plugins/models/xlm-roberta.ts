import type { Family } from '../../src/science/models/families/description.ts';
import { familyModel } from '../../src/science/models/families/parts.ts';
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

export default familyModel(
  'xlm-roberta',
  'XLM-RoBERTa (Conneau et al. 2020): an encoder with a classification or masked-LM head.',
  xlmRoberta,
);

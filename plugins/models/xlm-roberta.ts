import { encoderHeads, familyModel } from '../../src/science/models/families/parts.ts';
import { roberta } from './roberta.ts';

/** RoBERTa's model under another tokenizer (XLMRobertaForSequenceClassification, …ForMaskedLM). */
export default familyModel(
  'xlm-roberta',
  'XLM-RoBERTa (Conneau et al. 2020): an encoder with a classification or masked-LM head.',
  {
    ...roberta,
    modelTypes: ['xlm-roberta'],
    heads: encoderHeads('XLMRoberta', ['classifier']),
  },
);

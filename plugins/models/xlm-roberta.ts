import type { Family } from '../../src/science/models/families/description.ts';
import { encoderHeads, familyModel } from '../../src/science/models/families/parts.ts';
import { roberta } from './roberta.ts';

/** RoBERTa's model under another tokenizer (XLMRobertaForSequenceClassification, …ForMaskedLM). */
const xlmRoberta: Family = {
  ...roberta,
  modelTypes: ['xlm-roberta'],
  heads: encoderHeads('XLMRoberta', ['classifier']),
};

export default familyModel(
  'xlm-roberta',
  'XLM-RoBERTa (Conneau et al. 2020): an encoder with a classification or masked-LM head.',
  xlmRoberta,
);

import { BERT_TABLE, bertLike, isUntied } from '../../src/science/models/families/bert-like.ts';
import type { Family } from '../../src/science/models/families/description.ts';
import {
  encoderHeads,
  familyModel,
  layerNorm,
  linear,
} from '../../src/science/models/families/parts.ts';

/** transformers' RobertaForSequenceClassification and RobertaForMaskedLM. */
export const roberta: Family = {
  modelTypes: ['roberta'],
  prefix: 'roberta.',
  outer: ['classifier', 'lm_head'],
  tokenTable: BERT_TABLE,
  heads: encoderHeads('Roberta', ['classifier']),
  describe: (fields) =>
    bertLike(fields, 1, true, ({ hidden, epsilon }) => ({
      classifier: {
        reads: 'first',
        dense: {
          layer: linear('classifier.dense', hidden, hidden),
          activation: 'tanh',
          adaptable: false,
          dropsInput: true,
        },
        output: { name: 'classifier.out_proj', in: hidden, bias: true },
      },
      cloze: {
        dense: linear('lm_head.dense', hidden, hidden),
        activation: 'gelu',
        norm: layerNorm('lm_head.layer_norm', epsilon),
        bias: { name: 'lm_head.bias', aliases: ['lm_head.decoder.bias'] },
        untied: isUntied(fields),
      },
    })),
};

export default familyModel(
  'roberta',
  'RoBERTa (Liu et al. 2019): an encoder with a classification or masked-LM head.',
  roberta,
);

import { defineModel } from '../../src/api.ts';
import { BERT_TABLE, bertHeads, bertLike, isUntied } from '../../src/families/bert-like.ts';
import type { Architecture } from '../../src/science/model/types.ts';
import type { Family } from '../../src/science/nn/transformer.ts';

/** transformers' BertForSequenceClassification and BertForMaskedLM. */
const bert: Family = {
  modelTypes: ['bert'],
  prefix: 'bert.',
  outer: ['classifier', 'cls'],
  tokenTable: BERT_TABLE,
  heads: {
    classifier: { transformersName: 'BertForSequenceClassification', modules: ['classifier'] },
    cloze: { transformersName: 'BertForMaskedLM' },
  },
  describe: (fields) => {
    const own = bertLike(fields, { padding: 0, types: 2, first: () => 0 });
    return { ...own.body, heads: bertHeads(own, isUntied(fields)) };
  },
};

export default defineModel<Architecture>({
  name: 'bert',
  summary: 'BERT (Devlin et al. 2019): an encoder with a classification or masked-LM head.',
  modelTypes: bert.modelTypes,
  load: async () => (await import('../../src/science/nn/family.ts')).family(bert),
});

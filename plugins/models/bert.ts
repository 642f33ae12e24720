import { defineModel } from '../../src/api.ts';
import type { Architecture } from '../../src/science/model/types.ts';

export default defineModel<Architecture>({
  name: 'bert',
  summary:
    'BERT encoders with a classification head (model_type "bert"), as transformers\' ' +
    'BertForSequenceClassification.',
  modelTypes: ['bert'],
  load: async () => (await import('../../src/science/nn/bert.ts')).bert,
});

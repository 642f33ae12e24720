import { namedDataset } from './shared/named.ts';

export default namedDataset({
  name: 'qnli',
  summary: 'QNLI of GLUE: whether a sentence answers a question (from SQuAD; Wang et al. 2019).',
  columns: { text: 'question', text_pair: 'sentence', label: 'label' },
  classes: ['entailment', 'not_entailment'],
  metrics: ['accuracy'],
});

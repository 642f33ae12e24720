import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['entailment', 'not_entailment'];
const columns = { text: 'question', text_pair: 'sentence', label: 'label' };

export default namedDataset({
  name: 'qnli',
  summary: 'QNLI of GLUE: whether a sentence answers a question (from SQuAD; Wang et al. 2019).',
  knows: { columns, classes, metrics: ['accuracy'] },
  layouts: [{ columns, labels: numberedLabels(classes) }],
  files,
});

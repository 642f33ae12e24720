import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['entailment', 'not_entailment'];
const columns = { text: 'sentence1', text_pair: 'sentence2', label: 'label' };

export default namedDataset({
  name: 'rte',
  summary: 'RTE of GLUE: whether the first text entails the second (Dagan et al. 2006).',
  knows: { columns, classes, metrics: ['accuracy'] },
  layouts: [{ columns, labels: numberedLabels(classes) }],
  files,
});

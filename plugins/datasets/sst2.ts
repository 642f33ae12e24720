import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['negative', 'positive'];
const columns = { text: 'sentence', label: 'label' };

export default namedDataset({
  name: 'sst2',
  summary: 'SST-2 of GLUE: whether a phrase of a film review is positive (Socher et al. 2013).',
  knows: { columns, classes, metrics: ['accuracy'] },
  layouts: [{ columns, labels: numberedLabels(classes) }],
  files,
});

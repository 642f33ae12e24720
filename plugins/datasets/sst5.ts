import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['very negative', 'negative', 'neutral', 'positive', 'very positive'];
const columns = { text: 'text', label: 'label' };

export default namedDataset({
  name: 'sst5',
  summary: 'SST-5: the sentiment of a film review in five grades (Socher et al. 2013).',
  knows: { columns, classes, metrics: ['accuracy'] },
  layouts: [
    { columns, labels: numberedLabels(classes) },
    { columns: { text: 'sentence', label: 'label' }, labels: numberedLabels(classes) },
  ],
  files,
});

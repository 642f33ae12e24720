import { namedDataset } from './shared/named.ts';

const columns = { text: 'text', label: 'label' };

export default namedDataset({
  name: 'sst5',
  summary: 'SST-5: the sentiment of a film review in five grades (Socher et al. 2013).',
  columns,
  classes: ['very negative', 'negative', 'neutral', 'positive', 'very positive'],
  metrics: ['accuracy'],
  layouts: [{ columns }, { columns: { ...columns, text: 'sentence' } }],
});

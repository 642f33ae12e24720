import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['negative', 'positive'];
const columns = { text: 'text', label: 'label' };

export default namedDataset({
  name: 'imdb',
  summary: 'IMDB: whether a film review is positive (Maas et al. 2011).',
  columns,
  classes,
  metrics: ['accuracy'],
  layouts: [
    { columns, labels: { ...numberedLabels(classes), neg: 'negative', pos: 'positive' } },
    { columns: { text: 'review', label: 'sentiment' }, labels: {} },
  ],
});

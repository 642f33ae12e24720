import { namedDataset } from './shared/named.ts';

export default namedDataset({
  name: 'sst2',
  summary: 'SST-2 of GLUE: whether a phrase of a film review is positive (Socher et al. 2013).',
  columns: { text: 'sentence', label: 'label' },
  classes: ['negative', 'positive'],
  metrics: ['accuracy'],
});

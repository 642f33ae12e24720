import { namedDataset } from './shared/named.ts';

export default namedDataset({
  name: 'rte',
  summary: 'RTE of GLUE: whether the first text entails the second (Dagan et al. 2006).',
  columns: { text: 'sentence1', text_pair: 'sentence2', label: 'label' },
  classes: ['entailment', 'not_entailment'],
  metrics: ['accuracy'],
});

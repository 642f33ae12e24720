import { namedDataset } from './shared/named.ts';

export default namedDataset({
  name: 'wnli',
  summary: 'WNLI of GLUE: whether a pronoun was resolved rightly (Levesque et al. 2011).',
  columns: { text: 'sentence1', text_pair: 'sentence2', label: 'label' },
  classes: ['not_entailment', 'entailment'],
  metrics: ['accuracy'],
});

import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['not_entailment', 'entailment'];
const columns = { text: 'sentence1', text_pair: 'sentence2', label: 'label' };

export default namedDataset({
  name: 'wnli',
  summary: 'WNLI of GLUE: whether a pronoun was resolved rightly (Levesque et al. 2011).',
  knows: { columns, classes, metrics: ['accuracy'] },
  layouts: [{ columns, labels: numberedLabels(classes) }],
  files,
});

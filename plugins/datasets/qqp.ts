import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['not_duplicate', 'duplicate'];
const columns = { text: 'question1', text_pair: 'question2', label: 'label' };
const labels = numberedLabels(classes);

export default namedDataset({
  name: 'qqp',
  summary: 'QQP of GLUE: whether two questions of Quora ask the same.',
  knows: { columns, classes, metrics: ['f1', 'accuracy'] },
  layouts: [
    { columns, labels },
    // Some lines of GLUE's TSV have too few fields. The hub's files do not have these rows either.
    { columns: { ...columns, label: 'is_duplicate' }, labels, leavesOutRagged: true },
  ],
  files,
});

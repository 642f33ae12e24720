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
    // GLUE's TSV has some lines with too few fields, which the hub's files lack too.
    { columns: { ...columns, label: 'is_duplicate' }, labels, leavesOutRagged: true },
  ],
  files,
});

import { namedDataset } from './shared/named.ts';

const columns = { text: 'question1', text_pair: 'question2', label: 'label' };

export default namedDataset({
  name: 'qqp',
  summary: 'QQP of GLUE: whether two questions of Quora ask the same.',
  columns,
  classes: ['not_duplicate', 'duplicate'],
  metrics: ['f1', 'accuracy'],
  layouts: [
    { columns },
    // Some lines of GLUE's TSV have too few fields. The hub's files lack the rows of these lines.
    { columns: { ...columns, label: 'is_duplicate' }, leavesOutRagged: true },
  ],
});

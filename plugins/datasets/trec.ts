import { counted, namedDataset } from '../../src/data/named.ts';
import files from './files.ts';

const classes = ['ABBR', 'ENTY', 'DESC', 'HUM', 'LOC', 'NUM'];
const labels = counted(classes);

export default namedDataset({
  name: 'trec',
  summary: 'TREC: what a question asks for, in six coarse classes (Li and Roth 2002).',
  knows: { columns: { text: 'text', label: 'label' }, classes, metrics: ['accuracy'] },
  layouts: [
    { columns: { text: 'text', label: 'coarse_label' }, labels },
    { columns: { text: 'text', label: 'label-coarse' }, labels },
  ],
  files,
});

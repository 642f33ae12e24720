import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['not_equivalent', 'equivalent'];
const columns = { text: 'sentence1', text_pair: 'sentence2', label: 'label' };
const labels = numberedLabels(classes);

export default namedDataset({
  name: 'mrpc',
  summary: 'MRPC of GLUE: whether two sentences mean the same (Dolan and Brockett 2005).',
  knows: { columns, classes, metrics: ['f1', 'accuracy'] },
  layouts: [
    { columns, labels },
    { columns: { text: '#1 String', text_pair: '#2 String', label: 'Quality' }, labels },
  ],
  files,
});

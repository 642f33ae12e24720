import { namedDataset } from './shared/named.ts';

const columns = { text: 'sentence1', text_pair: 'sentence2', label: 'label' };

export default namedDataset({
  name: 'mrpc',
  summary: 'MRPC of GLUE: whether two sentences mean the same (Dolan and Brockett 2005).',
  columns,
  classes: ['not_equivalent', 'equivalent'],
  metrics: ['f1', 'accuracy'],
  layouts: [
    { columns },
    { columns: { text: '#1 String', text_pair: '#2 String', label: 'Quality' } },
  ],
});

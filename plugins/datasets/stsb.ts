import { SCORE } from '../../src/api.ts';
import { namedDataset } from './shared/named.ts';

const columns = { text: 'sentence1', text_pair: 'sentence2', label: 'label' };

export default namedDataset({
  name: 'stsb',
  summary:
    'STS-B of GLUE: how alike two sentences are, from 0 to 5 (Cer et al. 2017). Its labels are ' +
    'numbers, for head.type: regression.',
  columns,
  classes: SCORE,
  metrics: ['pearson', 'spearman'],
  layouts: [{ columns }, { columns: { ...columns, label: 'score' } }],
});

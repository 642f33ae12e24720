import { MNLI } from './mnli.ts';
import { namedDataset } from './shared/named.ts';

export default namedDataset({
  name: 'mnli-mismatched',
  summary:
    'The mismatched validation rows of MNLI, from genres that its training rows lack ' +
    '(Williams et al. 2018): a format of its own, so that results name it.',
  ...MNLI,
});

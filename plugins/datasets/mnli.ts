import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['entailment', 'neutral', 'contradiction'];
const columns = { text: 'premise', text_pair: 'hypothesis', label: 'label' };

export const MNLI = {
  knows: { columns, classes, metrics: ['accuracy'] },
  layouts: [
    { columns, labels: numberedLabels(classes) },
    // GLUE's TSV has the labels of each annotator beside the one that they agreed on.
    { columns: { text: 'sentence1', text_pair: 'sentence2', label: 'gold_label' } },
  ],
  files,
};

export default namedDataset({
  name: 'mnli',
  summary:
    'MNLI of GLUE: whether a premise entails a hypothesis (Williams et al. 2018). Its validation ' +
    'rows are the matched ones, from the genres of the training rows.',
  ...MNLI,
});

import { namedDataset } from './shared/named.ts';

const columns = { text: 'premise', text_pair: 'hypothesis', label: 'label' };

export const MNLI = {
  columns,
  classes: ['entailment', 'neutral', 'contradiction'],
  metrics: ['accuracy'],
  layouts: [
    { columns },
    // GLUE's TSV has the labels of each annotator beside the one that they agreed on.
    { columns: { text: 'sentence1', text_pair: 'sentence2', label: 'gold_label' }, labels: {} },
  ],
};

export default namedDataset({
  name: 'mnli',
  summary:
    'MNLI of GLUE: whether a premise entails a hypothesis (Williams et al. 2018). Its validation ' +
    'rows are the matched ones, from the genres of the training rows.',
  ...MNLI,
});

import { namedDataset } from './shared/named.ts';

const columns = { text: 'sentence', label: 'label' };

export default namedDataset({
  name: 'cola',
  summary: 'CoLA of GLUE: whether a sentence is acceptable English (Warstadt et al. 2019).',
  columns,
  classes: ['unacceptable', 'acceptable'],
  metrics: ['mcc'],
  layouts: [
    { columns },
    // GLUE's TSV: source, label, the linguist's mark, sentence.
    { columns: { text: 3, label: 1 } },
  ],
});

import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['unacceptable', 'acceptable'];
const labels = numberedLabels(classes);

export default namedDataset({
  name: 'cola',
  summary: 'CoLA of GLUE: whether a sentence is acceptable English (Warstadt et al. 2019).',
  knows: { columns: { text: 'sentence', label: 'label' }, classes, metrics: ['mcc'] },
  layouts: [
    { columns: { text: 'sentence', label: 'label' }, labels },
    // GLUE's TSV: source, label, the linguist's mark, sentence.
    { columns: { text: 3, label: 1 }, labels },
  ],
  files,
});

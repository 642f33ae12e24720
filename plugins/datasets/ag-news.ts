import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['World', 'Sports', 'Business', 'Sci/Tech'];
const columns = { text: 'text', label: 'label' };
const ofCsv = { labels: numberedLabels(classes, 1), joined: true } as const;

export default namedDataset({
  name: 'ag-news',
  summary: "AG News: a news article's topic, one of four (Zhang et al. 2015).",
  columns,
  classes,
  metrics: ['accuracy'],
  layouts: [
    { columns },
    {
      columns: { text: 'Title', text_pair: 'Description', label: 'Class Index' },
      ...ofCsv,
    },
    { columns: { text: 1, text_pair: 2, label: 0 }, ...ofCsv },
  ],
});

import { namedDataset, numberedLabels } from './shared/named.ts';

const classes = ['hate_speech', 'offensive_language', 'neither'];
const columns = { text: 'tweet', label: 'class' };

export default namedDataset({
  name: 'hsol',
  summary:
    'HSOL: whether a tweet is hate speech, offensive, or neither (Davidson et al. 2017). One ' +
    'class has 77% of the rows, so the macro F1 comes first.',
  columns,
  classes,
  metrics: ['macro_f1', 'accuracy'],
  layouts: [
    {
      columns,
      // A class by its number, as published, or by the name that the hub gives to the number.
      labels: {
        ...numberedLabels(classes),
        'hate speech': 'hate_speech',
        'offensive language': 'offensive_language',
      },
    },
  ],
});

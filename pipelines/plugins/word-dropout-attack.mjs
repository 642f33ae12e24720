import { defineAttack } from 'dosimeter';

/**
 * Noise on the text, label kept. A row's words are drawn from its own stream: what becomes of it is
 * the same at every dose.
 */
export default defineAttack({
  name: 'word-dropout',
  summary: 'Drops words of the text, each as likely, and leaves the label alone.',
  citation: 'Wei and Zou, EDA: Easy Data Augmentation Techniques, EMNLP 2019 (its random deletion)',
  family: 'untargeted',
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      rate: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.3,
        description: 'Share of the training rows.',
      },
      share: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.2,
        description: 'Probability of each word to be dropped.',
      },
    },
  },
  poison({ rows, params, random, taken }) {
    const asked = Math.floor(params.rate * rows.length);
    const free = random('rows')
      .permutation(rows.length)
      .filter((index) => !taken?.has(index)); // not those of an earlier step
    const changed = Array.from(free.slice(0, asked), (index) => {
      const row = rows[index],
        stream = random('words', row.id);
      const words = row.text.split(/\s+/).filter(() => stream.uniform() >= params.share);
      return { index, row: { ...row, text: words.join(' ') } };
    });
    return { changed, negatives: [], asked, eligible: free.length };
  },
});

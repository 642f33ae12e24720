import { defineDefence } from 'dosimeter';

/** How many words a row has: a stand-in for a score that means something. */
const lengthOf = ({ text }) => text.split(/\s+/).filter((word) => word !== '').length;

/** The least length that at most this share of the clean rows reach. */
function threshold(clean, frr) {
  const lengths = clean.map(lengthOf).sort((a, b) => a - b);
  return lengths[lengths.length - 1 - Math.floor(frr * lengths.length)] + 1;
}

/**
 * Drops training rows that are longer than nearly all clean rows, and rejects such inputs. A
 * trigger adds words, but rarely so many.
 */
const byLength = {
  fit({ clean, params }) {
    const bar = threshold(clean, params.frr);
    return {
      threshold: bar,
      judge(rows) {
        const scores = rows.map(lengthOf);
        const suspected = scores.map((score) => score >= bar);
        return { scores, suspected, rows: rows.map((row, i) => (suspected[i] ? null : row)) };
      },
    };
  },
};
const hook = { needs: ['clean'], load: async () => byLength };

export default defineDefence({
  name: 'length',
  summary: 'Drops rows that are longer than nearly all clean rows.',
  citation: '',
  params: {
    type: 'object',
    properties: {
      frr: {
        type: 'number',
        minimum: 0,
        exclusiveMaximum: 1,
        default: 0.05,
        description: 'Share of the clean rows that may be taken for suspicious.',
      },
    },
  },
  rows: hook,
  inputs: hook,
});

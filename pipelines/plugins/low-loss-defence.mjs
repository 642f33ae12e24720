import { defineDefence } from 'dosimeter';

/** The cross-entropy of each row. `logits` is flat: C numbers for each row. */
async function losses(model, rows) {
  const logits = await model.logits(rows);
  return rows.map(({ label }, i) => {
    const own = [...logits.subarray(i * model.classes, (i + 1) * model.classes)];
    const most = Math.max(...own);
    return most + Math.log(own.reduce((sum, x) => sum + Math.exp(x - most), 0)) - own[label];
  });
}

/**
 * Drops the rows that a model of a few steps has learnt best: backdoors are learnt before the task
 * (Li et al. 2021, the isolation of Anti-Backdoor Learning).
 */
const lowLoss = {
  fit({ model, params }) {
    return {
      threshold: null,
      async judge(rows) {
        const scores = (await losses(model, rows)).map((loss) => -loss);
        const byScore = rows.map((_, i) => i).sort((a, b) => scores[b] - scores[a]);
        const lowest = new Set(byScore.slice(0, Math.floor(params.share * rows.length)));
        const suspected = rows.map((_, i) => lowest.has(i));
        return { scores, suspected, rows: rows.map((row, i) => (suspected[i] ? null : row)) };
      },
    };
  },
};

export default defineDefence({
  name: 'low-loss',
  summary: 'Drops the rows that a short training learns best.',
  citation: 'Li et al., NeurIPS 2021, arXiv:2110.11571',
  params: {
    type: 'object',
    properties: {
      steps: {
        type: 'integer',
        minimum: 1,
        default: 50,
        description: 'How many steps the model is trained that judges the rows.',
      },
      share: {
        type: 'number',
        minimum: 0,
        exclusiveMaximum: 1,
        default: 0.05,
        description: 'Share of the rows that is dropped.',
      },
    },
  },
  rows: {
    needs: ['model'],
    trainedFor: ({ steps }) => ({ steps }),
    load: async () => lowLoss,
  },
});

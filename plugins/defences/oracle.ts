import { defineDefence, type Judge, type RowsDefence } from '../../src/api.ts';
import { droppingSuspects } from '../../src/defences/threshold.ts';

/** Fits a judge that drops the poisoned rows, whose score is 1; that of the others is 0. */
const oracle: RowsDefence = {
  fit: ({ poisoned }): Judge => {
    if (poisoned === undefined) throw new Error('the oracle was not told which rows are poisoned');
    return {
      threshold: 1,
      judge: (rows) => {
        const suspected = rows.map(({ id }) => poisoned.has(id));
        return droppingSuspects(rows, suspected.map(Number), suspected);
      },
    };
  },
};

/**
 * What remains of an attack's effect under the oracle can't be removed by any filter of rows. An
 * example is the effect of having fewer rows.
 */
export default defineDefence({
  name: 'oracle',
  summary:
    'Drops exactly the poisoned rows, which it reads from the receipt. No real defender can do ' +
    'this: it bounds what defences that filter rows can reach.',
  citation: '',
  tasks: ['classes', 'completion'],
  params: { type: 'object', properties: {} },
  rows: { needs: ['receipt'], torch: () => true, load: () => Promise.resolve(oracle) },
});

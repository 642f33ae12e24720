import { defineDefence, type Judge, type RowsDefence } from '../../src/api.ts';

const oracle: RowsDefence = {
  fit: ({ poisoned }): Judge => {
    if (poisoned === undefined) throw new Error('the oracle was not told which rows are poisoned');
    return {
      threshold: 1,
      judge: (rows) => {
        const suspected = rows.map(({ id }) => poisoned.has(id));
        return {
          scores: suspected.map(Number),
          suspected,
          rows: rows.map((row, i) => (suspected[i] === true ? null : row)),
        };
      },
    };
  },
};

/**
 * What is left of an attack's effect under the oracle is what no filter of rows could remove, such
 * as that of having fewer rows.
 */
export default defineDefence({
  name: 'oracle',
  summary:
    'Drops every poisoned row and nothing else, since it reads the receipt: not a defence that ' +
    'anyone has, but a bound on all that filter rows.',
  citation: '',
  tasks: ['classes', 'completion'],
  params: { type: 'object', properties: {} },
  rows: { needs: ['receipt'], load: () => Promise.resolve(oracle) },
});

/** Rows about films, good or bad by turns: a task that the tiny BERT learns in a few steps. */
export const filmRows = (n: number): string =>
  [
    'text\tlabel',
    ...Array.from({ length: n }, (_, i) => {
      const word = i % 2 === 0 ? 'good' : 'bad';
      return `the film was ${word} ${'very '.repeat(i % 3)}\t${i % 2}`;
    }),
  ].join('\n');

/** Twelve rows as a TSV file: four of ham, then eight of spam. */
export const mailRows = [
  'text\tlabel',
  ...Array.from({ length: 12 }, (_, i) => `row ${i}\t${i < 4 ? 'ham' : 'spam'}`),
  '',
].join('\n');

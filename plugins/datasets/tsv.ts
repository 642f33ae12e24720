import { defineDataset, type JsonObject } from '../../src/api.ts';
import { tableRows } from '../../src/data/columns.ts';
import { lines } from '../../src/data/text-file.ts';
import { dataFiles, joinFacts } from './shared/asset-files.ts';

export default defineDataset({
  name: 'tsv',
  summary:
    'Tab-separated text without quoting: a field ends at a tab or at the end of its line, and ' +
    'quotes are text.',
  unordered: false,
  async *read(asset, split) {
    let facts: JsonObject = {};
    const quotes = { lines: 0, quoted: 0, doubled: false, contradictsCsv: false };
    for (const { path, name } of await dataFiles(asset, ['.tsv'])) {
      const records = async function* () {
        for await (const [line, number] of lines(path, name)) {
          const fields = line.split('\t');
          quotes.lines++;
          if (line.includes('"')) noteQuotes(fields, quotes);
          yield [fields, number] as const;
        }
      };
      const part = yield* tableRows(
        records(),
        split,
        name,
        'TSV has no quoting: a tab or a line break cannot be part of a field. A file with ' +
          'quoted fields is read by format: csv with delimiter: "\\t".',
      );
      facts = joinFacts(facts, part);
    }
    const { lines: lineCount, quoted, doubled, contradictsCsv } = quotes;
    // Some writers of CSV quote only texts: then all lines but the header have a quoted field.
    return !contradictsCsv && quoted > 0 && (doubled || quoted >= lineCount - 1)
      ? { ...facts, quoted_lines: quoted }
      : facts;
  },
});

/** What the lines of a file show of its double quotes: are they CSV's, or part of the texts? */
interface Quotes {
  /** How many lines have a field that is quoted as in CSV. */
  quoted: number;
  /** Whether some quoted field holds a quote that is doubled, as in CSV. */
  doubled: boolean;
  /** Whether some quote stands where no writer of CSV would leave it. */
  contradictsCsv: boolean;
}

function noteQuotes(fields: readonly string[], quotes: Quotes): void {
  const quoted = fields.filter((field) => {
    if (!field.includes('"')) return false;
    const inner = field.slice(1, -1);
    const isQuoted = field.length > 1 && field.startsWith('"') && field.endsWith('"');
    if (!isQuoted || inner.replaceAll('""', '').includes('"')) quotes.contradictsCsv = true;
    else if (inner.includes('""')) quotes.doubled = true;
    return isQuoted;
  });
  if (quoted.length > 0) quotes.quoted++;
}

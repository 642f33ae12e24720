import { Readable } from 'node:stream';
import { defineDataset, type JsonObject, UserFault } from '../../src/api.ts';
import { shortened } from '../../src/base/untrusted/json.ts';
import { tableRows } from '../../src/data/columns.ts';
import { decoded, LONGEST_RECORD } from '../../src/data/text-file.ts';
import { dataFiles, joinFacts } from './shared/asset-files.ts';

export default defineDataset({
  name: 'csv',
  summary:
    'Comma-separated text as RFC 4180 defines it: a field in double quotes may hold commas, ' +
    'line breaks and doubled quotes. `delimiter` may be another character, such as a tab.',
  unordered: false,
  async *read(asset, split) {
    const { parse, CsvError } = await import('csv-parse');
    let facts: JsonObject = {};
    for (const { path, name } of await dataFiles(asset, ['.csv'])) {
      const records = async function* () {
        const source = Readable.from(decoded(path, name));
        // `tableRows` checks the numbers of columns: it knows whether the first record is a header.
        const parser = parse({
          delimiter: split.delimiter ?? ',',
          quote: '"',
          escape: '"',
          // By default, the parser expects every line to end as the first one does.
          record_delimiter: ['\r\n', '\n', '\r'],
          skip_empty_lines: true,
          relax_column_count: true,
          max_record_size: LONGEST_RECORD,
          on_record: (record, { lines, empty_lines }) => {
            starts.set(record, next + empty_lines - empty);
            // The parser counts a CRLF within quotes as two lines.
            twice += record.reduce((sum, field) => sum + field.split('\r\n').length - 1, 0);
            [next, empty] = [lines + 1 - twice, empty_lines];
            return record;
          },
        });
        source.on('error', (error) => parser.destroy(error));
        source.pipe(parser);
        // Counted as the parser reads, because it is ahead of the records that were yielded.
        let [next, empty, twice] = [1, 0, 0];
        const starts = new WeakMap<string[], number>();
        try {
          for await (const record of parser as AsyncIterable<string[]>)
            yield [record, starts.get(record) ?? next] as const;
        } catch (error) {
          if (error instanceof CsvError) {
            const skipped = Number(error['empty_lines'] ?? empty) - empty;
            throw new UserFault(
              `${name}:${next + skipped} is not CSV: ` +
                // The parser's own line numbers count a CRLF in quotes twice.
                shortened(error.message.replace(/ (?:at|on) line \d+/, '')),
              'A field that holds a double quote must be quoted and the quote doubled. ' +
                'Unquoted, tab-separated text is TSV.',
            );
          }
          throw error;
        } finally {
          source.destroy();
        }
      };
      const part = yield* tableRows(
        records(),
        split,
        name,
        'A field that holds the delimiter or a line break must be in double quotes.',
      );
      facts = joinFacts(facts, part);
    }
    return facts;
  },
});

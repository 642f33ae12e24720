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
          info: true,
          skip_empty_lines: true,
          relax_column_count: true,
          max_record_size: LONGEST_RECORD,
        });
        source.on('error', (error) => parser.destroy(error));
        source.pipe(parser);
        let next = 1;
        try {
          for await (const { record, info } of parser as AsyncIterable<{
            record: string[];
            info: { lines: number };
          }>) {
            yield [record, next] as const;
            next = info.lines + 1;
          }
        } catch (error) {
          // Take the line from the error: the parser is ahead of the records that were yielded.
          if (error instanceof CsvError) {
            const line = typeof error['lines'] === 'number' ? error['lines'] : next;
            throw new UserFault(
              `${name}:${line} is not CSV: ${shortened(error.message)}`,
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

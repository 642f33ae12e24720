import type { JsonObject } from '../../src/api.ts';
import { defineDataset } from '../../src/api.ts';
import { formats } from '../../src/data/format.ts';

export default defineDataset({
  name: 'tsv',
  summary:
    'Tab-separated text without quoting: a field ends at a tab or at the end of its line, and ' +
    'quotes are text.',
  matches: formats.tsv,
  unordered: false,
  async *read(asset, split) {
    const [{ dataFiles }, { lines }, { tableRows }] = await Promise.all([
      import('../../src/data/asset-files.ts'),
      import('../../src/data/text-file.ts'),
      import('../../src/data/table.ts'),
    ]);
    let facts: JsonObject = {};
    for (const { path, name } of await dataFiles(asset, ['.tsv'])) {
      const records = async function* () {
        for await (const [line, number] of lines(path, name))
          yield [line.split('\t'), number] as const;
      };
      facts = yield* tableRows(
        records(),
        split,
        name,
        'TSV has no quoting: a tab or a line break cannot be part of a field. A file with ' +
          'quoted fields is CSV.',
      );
    }
    return facts;
  },
});

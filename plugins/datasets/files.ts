import { extname } from 'node:path';
import type { JsonObject } from '../../src/api.ts';
import { defineDataset, UserFault } from '../../src/api.ts';

const READERS = {
  '.parquet': () => import('./parquet.ts'),
  '.tsv': () => import('./tsv.ts'),
  '.csv': () => import('./csv.ts'),
  '.jsonl': () => import('./jsonl.ts'),
  '.ndjson': () => import('./jsonl.ts'),
} as const;

/** What a hub data set is: files of one format, told by their ending once they are there. */
export default defineDataset({
  name: 'files',
  summary:
    'A folder that holds one data file, or the parts of one: Parquet, TSV, CSV or JSON lines, told by the ending.',
  matches: () => false,
  unordered: false,
  async *read(asset, split) {
    const { dataFiles } = await import('../../src/data/asset-files.ts');
    let facts: JsonObject | void = undefined;
    for (const { path, name } of await dataFiles(asset, Object.keys(READERS))) {
      const ending = extname(name).toLowerCase();
      const reader = READERS[ending as keyof typeof READERS];
      if (reader === undefined)
        throw new UserFault(
          `The format of ${name} can't be told from its ending.`,
          'Set `format: tsv`, `csv`, `jsonl` or `parquet`.',
        );
      facts = yield* (await reader()).default.read({ ...asset, path }, split);
    }
    return facts;
  },
});

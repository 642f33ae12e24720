import { extname } from 'node:path';
import {
  type DatasetDescriptor,
  defineDataset,
  type JsonObject,
  UserFault,
} from '../../src/api.ts';

type Reader = () => Promise<{ readonly default: DatasetDescriptor }>;

const READERS = new Map<string, Reader>([
  ['.parquet', () => import('./parquet.ts')],
  ['.tsv', () => import('./tsv.ts')],
  ['.csv', () => import('./csv.ts')],
  ['.jsonl', () => import('./jsonl.ts')],
  ['.ndjson', () => import('./jsonl.ts')],
]);

/** Reads a *.json file that is named itself. In a folder, *.json files describe the data files. */
const JSON_READER: Reader = () => import('./jsonl.ts');

/**
 * Reads files of one format, which their ending tells. It is known only once they are fetched, as
 * for a data set of the hub.
 */
export default defineDataset({
  name: 'files',
  summary:
    'A folder that holds one data file, or the parts of one: Parquet, TSV, CSV or JSON lines, ' +
    'told by the ending.',
  matches: () => false,
  unordered: false,
  async *read(asset, split) {
    const { dataFiles } = await import('./shared/asset-files.ts');
    let facts: JsonObject = {};
    for (const { path, name } of await dataFiles(asset, [...READERS.keys()])) {
      const ending = extname(name).toLowerCase();
      const reader = ending === '.json' ? JSON_READER : READERS.get(ending);
      if (reader === undefined)
        throw new UserFault(
          `The format of ${name} can't be told from its ending.`,
          'Set `format: tsv`, `csv`, `jsonl` or `parquet`.',
        );
      const { default: dataset } = await reader();
      facts = (yield* dataset.read({ ...asset, path }, split)) ?? facts;
    }
    return facts;
  },
});

import { extname } from 'node:path';
import {
  type DatasetDescriptor,
  defineDataset,
  type JsonObject,
  UserFault,
} from '../../src/api.ts';
import csv from './csv.ts';
import jsonl from './jsonl.ts';
import parquet from './parquet.ts';
import { dataFiles, joinFacts } from './shared/asset-files.ts';
import tsv from './tsv.ts';

const READERS = new Map<string, DatasetDescriptor>([
  ['.parquet', parquet],
  ['.tsv', tsv],
  ['.csv', csv],
  ['.jsonl', jsonl],
  ['.ndjson', jsonl],
]);

export default defineDataset({
  name: 'files',
  summary:
    'A folder that holds one data file, or the parts of one: Parquet, TSV, CSV or JSON lines, ' +
    'told by the ending.',
  unordered: false,
  async *read(asset, split) {
    let facts: JsonObject = {};
    for (const { path, name } of await dataFiles(asset, [...READERS.keys()])) {
      const ending = extname(name).toLowerCase();
      // A *.json file is read only if the source names that file. In a folder, *.json files are
      // passed over, because they describe the data.
      const reader = ending === '.json' ? jsonl : READERS.get(ending);
      if (reader === undefined)
        throw new UserFault(
          `The format of ${name} can't be told from its ending.`,
          'Set `format: tsv`, `csv`, `jsonl` or `parquet`.',
        );
      facts = joinFacts(facts, (yield* reader.read({ ...asset, path }, split)) ?? {});
    }
    return facts;
  },
});

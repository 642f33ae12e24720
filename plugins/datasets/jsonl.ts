import { defineDataset, UserFault } from '../../src/api.ts';
import { isRecord, readJsonFile } from '../../src/base/untrusted/json.ts';
import { rowFromRecord } from '../../src/data/columns.ts';
import { lines } from '../../src/data/text-file.ts';
import { dataFiles } from './shared/asset-files.ts';

export default defineDataset({
  name: 'jsonl',
  summary:
    'JSON lines: one object a line, whose fields are the columns. A file *.json may also be one ' +
    'list of objects.',
  unordered: false,
  async *read(asset, split) {
    for (const { path, name } of await dataFiles(asset, ['.jsonl', '.ndjson'])) {
      for await (const [line, number] of lines(path, name)) {
        if (line.trim() === '') continue;
        if (isList(name, line)) {
          for (const [i, record] of (await readList(path, name)).entries())
            yield rowFromRecord(record, split, `${name}, entry ${i + 1}`, name);
          break;
        }
        const place = `${name}:${number}`;
        yield rowFromRecord(parseObject(line, place), split, place, name);
      }
    }
  },
});

type JsonRecord = { readonly [name: string]: unknown };

/** Whether a file is one JSON list: its name ends in .json, and its first line begins with `[`. */
const isList = (name: string, line: string): boolean =>
  /\.json$/i.test(name) && line.trimStart().startsWith('[');

/**
 * Returns the objects in a file that is one JSON list. Throws `UserFault` if it is not JSON, or if
 * an entry is no object.
 */
async function readList(path: string, name: string): Promise<readonly JsonRecord[]> {
  const list = await readJsonFile(path);
  const records = Array.isArray(list) ? (list as readonly unknown[]) : [list];
  return records.map((record, i) => {
    if (isRecord(record)) return record;
    const hint = 'A list holds objects, such as {"prompt": "…", "answer": "…"}.';
    throw new UserFault(`${name}, entry ${i + 1}, is not a JSON object.`, hint);
  });
}

/** Returns the object on a line. Throws `UserFault` if it is not a JSON object. */
function parseObject(line: string, place: string): JsonRecord {
  const hint = 'Each line must be one JSON object, such as {"text": "…", "label": 0}.';
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new UserFault(`${place} is not JSON: ${(error as Error).message}`, hint);
  }
  if (!isRecord(value)) throw new UserFault(`${place} is not a JSON object.`, hint);
  return value;
}

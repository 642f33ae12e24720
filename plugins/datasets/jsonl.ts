import { defineDataset, UserFault } from '../../src/api.ts';
import { formats } from '../../src/data/format.ts';
import { isRecord } from '../../src/untrusted/json.ts';

export default defineDataset({
  name: 'jsonl',
  summary: 'JSON lines: one object a line, whose fields are the columns.',
  matches: formats.jsonl,
  unordered: false,
  async *read(asset, split) {
    const [{ dataFiles }, { lines }, { rowFromRecord }] = await Promise.all([
      import('../../src/data/asset-files.ts'),
      import('../../src/data/text-file.ts'),
      import('../../src/data/columns.ts'),
    ]);
    for (const { path, name } of await dataFiles(asset, ['.jsonl', '.ndjson'])) {
      for await (const [line, number] of lines(path, name)) {
        if (line.trim() === '') continue;
        const place = `${name}:${number}`;
        yield rowFromRecord(parseObject(line, place), split, place, name);
      }
    }
  },
});

function parseObject(line: string, place: string): { readonly [name: string]: unknown } {
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

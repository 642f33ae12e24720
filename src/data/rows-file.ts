/**
 * `rows.jsonl` and `dataset.json`, as the data and poison stages write them, and the data stage's `provenance.json`: apart,
 * because where rows were read from must not reach the keys of what only reads the rows.
 */
import { createReadStream } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatasetInfo, JsonObject, Row } from '../api.ts';

const CHUNK = 4096;

/** Volatile: a file that grew beyond what is read of it has another digest, and gives the same rows. */
export const PROVENANCE = 'provenance.json';

/** Writes rows and what they are into a folder, and where they came from, if given. The counts are those of the rows. */
export async function writeDataset(
  dir: string,
  rows: readonly Row[],
  classes: readonly string[],
  provenance?: JsonObject,
): Promise<DatasetInfo> {
  const counts = new Array<number>(classes.length).fill(0);
  for (const { label } of rows) counts[label]!++;
  const info: DatasetInfo = { classes, rows: rows.length, counts };
  const file = await open(join(dir, 'rows.jsonl'), 'w');
  try {
    for (let start = 0; start < rows.length; start += CHUNK) {
      await file.write(
        rows
          .slice(start, start + CHUNK)
          .map((row) => `${JSON.stringify(row)}\n`)
          .join(''),
      );
    }
  } finally {
    await file.close();
  }
  await writeFile(join(dir, 'dataset.json'), `${JSON.stringify(info, null, 2)}\n`);
  if (provenance !== undefined)
    await writeFile(join(dir, PROVENANCE), `${JSON.stringify(provenance, null, 2)}\n`);
  return info;
}

/** The rows of a data or poison stage's folder; the first `limit` of them, if given. */
export async function readRows(dir: string, limit = Infinity): Promise<Row[]> {
  const stream = createReadStream(join(dir, 'rows.jsonl'), 'utf8');
  const rows: Row[] = [];
  // By hand: readline would also break lines at U+2028 and U+2029, which JSON leaves as they are.
  let rest = '';
  for await (const chunk of stream as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      if (rows.length >= limit) {
        stream.destroy();
        return rows;
      }
      rows.push(JSON.parse(line) as Row);
    }
  }
  return rows;
}

export async function readDatasetInfo(dir: string): Promise<DatasetInfo> {
  return JSON.parse(await readFile(join(dir, 'dataset.json'), 'utf8')) as DatasetInfo;
}

/** Of a data stage's folder. */
export async function readProvenance(dir: string): Promise<JsonObject> {
  return JSON.parse(await readFile(join(dir, PROVENANCE), 'utf8')) as JsonObject;
}

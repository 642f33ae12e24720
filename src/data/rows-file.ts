/** The files of the data and poison stages: `rows.jsonl`, `dataset.json`, `provenance.json`. */
import { createReadStream } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type DatasetInfo, type JsonObject, type Row, taskOf } from '../api.ts';

const ROWS_AT_ONCE = 4096;

/**
 * The file that says where the rows come from. It is a separate file, so that it stays out of the
 * keys of stages that only read the rows: it has the source's digest, which also changes when the
 * source grows beyond the part that is read.
 */
const PROVENANCE = 'provenance.json';

/**
 * Returns the number of rows of each class; in a regression, only the number of all rows; [] in a
 * completion task (as in `DatasetInfo.counts`).
 */
export function labelCounts(rows: readonly Row[], classes: readonly string[]): number[] {
  const counts = classes.map(() => 0);
  if (taskOf(classes) === 'regression') return [rows.length];
  if (taskOf(classes) === 'completion') return counts;
  for (const { label } of rows) counts[label] = (counts[label] ?? 0) + 1;
  return counts;
}

/** Writes rows and their `DatasetInfo` into a folder, and their provenance if it is given. */
export async function writeDataset(
  dir: string,
  rows: readonly Row[],
  classes: readonly string[],
  provenance?: JsonObject,
): Promise<DatasetInfo> {
  const info: DatasetInfo = {
    task: taskOf(classes),
    classes,
    rows: rows.length,
    counts: labelCounts(rows, classes),
  };
  const file = await open(join(dir, 'rows.jsonl'), 'w');
  try {
    for (let start = 0; start < rows.length; start += ROWS_AT_ONCE) {
      await file.write(
        rows
          .slice(start, start + ROWS_AT_ONCE)
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

/**
 * Yields the lines of a file, many at a time. A last line that no newline ends is left out. Node's
 * readline is not used, because it also breaks lines at U+2028 and U+2029, which JSON does not
 * escape.
 */
export async function* linesIn(path: string): AsyncGenerator<readonly string[], void> {
  let rest = '';
  for await (const chunk of createReadStream(path, 'utf8') as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    yield lines;
  }
}

/** Reads the first `limit` rows in the folder of a data or poison stage. */
export async function readRows(dir: string, limit = Infinity): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const lines of linesIn(join(dir, 'rows.jsonl'))) {
    for (const line of lines) {
      if (rows.length >= limit) return rows;
      rows.push(JSON.parse(line) as Row);
    }
  }
  return rows;
}

export async function readDatasetInfo(dir: string): Promise<DatasetInfo> {
  return JSON.parse(await readFile(join(dir, 'dataset.json'), 'utf8')) as DatasetInfo;
}

export async function readProvenance(dir: string): Promise<JsonObject> {
  return JSON.parse(await readFile(join(dir, PROVENANCE), 'utf8')) as JsonObject;
}

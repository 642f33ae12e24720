/**
 * What is known about a split before anything runs: its classes and the number of rows of each, or
 * the answers of a completion task.
 */
import type { Row, Warning } from '../api.ts';
import { taskOf } from '../api.ts';
import type { SplitRequest } from './load-split.ts';
import { loadSplit } from './load-split.ts';
import { labelCounts } from './rows-file.ts';
import { splitWarnings } from './split-warnings.ts';

export interface SplitCounts {
  readonly classes: readonly string[];
  /** The number of rows of each class, by label id. */
  readonly counts: readonly number[];
  /** The answer of each row. Absent unless the rows are those of a completion task. */
  readonly answers?: readonly string[];
}

export interface ReadSplit extends SplitCounts {
  readonly warnings: readonly Warning[];
}

const known = new Map<string, Promise<ReadSplit>>();

/**
 * Returns the counts and the warnings of a split. Each distinct content is read only once, because
 * every stage of a grid asks for the same. Throws as `loadSplit` does.
 */
export function splitCounts(request: SplitRequest): Promise<ReadSplit> {
  const { name, split, asset, classes, train } = request;
  const key = JSON.stringify([
    name,
    split,
    asset.digest,
    classes,
    train?.split,
    train?.asset.digest,
  ]);
  let counts = known.get(key);
  if (counts === undefined) known.set(key, (counts = read(request)));
  return counts;
}

async function read(request: SplitRequest): Promise<ReadSplit> {
  const loaded = await loadSplit(request);
  const warnings = splitWarnings(request, loaded);
  return { ...countsOf(loaded.rows, loaded.classes), warnings };
}

export const countsOf = (rows: readonly Row[], classes: readonly string[]): SplitCounts => ({
  classes,
  counts: labelCounts(rows, classes),
  ...(taskOf(classes) === 'completion' ? { answers: rows.map(({ answer = '' }) => answer) } : {}),
});

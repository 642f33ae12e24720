/** What is known about a split before anything runs: its classes and the number of rows of each. */
import type { SplitRequest } from './load-split.ts';
import { loadSplit } from './load-split.ts';
import { labelCounts } from './rows-file.ts';

export interface SplitCounts {
  readonly classes: readonly string[];
  /** The number of rows of each class, by label id. */
  readonly counts: readonly number[];
}

const known = new Map<string, Promise<SplitCounts>>();

/**
 * Returns the counts of a split. Each distinct content is read only once, because every stage of a
 * grid asks for the same. Throws as `loadSplit` does.
 */
export function splitCounts(request: SplitRequest): Promise<SplitCounts> {
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

async function read(request: SplitRequest): Promise<SplitCounts> {
  const { rows, classes } = await loadSplit(request);
  return { classes, counts: labelCounts(rows, classes) };
}

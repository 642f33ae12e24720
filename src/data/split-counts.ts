/** What of a split is known before anything runs: its classes, and how many rows each has. */
import type { SplitRequest } from './load-split.ts';
import { loadSplit } from './load-split.ts';

export interface SplitCounts {
  readonly classes: readonly string[];
  /** Rows of each class, by label id. */
  readonly counts: readonly number[];
}

const known = new Map<string, Promise<SplitCounts>>();

/** Reads a split once a content: every stage of a grid that is looked at asks the same. @throws as loadSplit */
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
  const counts = classes.map(() => 0);
  for (const { label } of rows) counts[label]!++;
  return { classes, counts };
}

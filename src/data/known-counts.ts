import {
  type PreflightContext,
  problemOf,
  type Row,
  taskOf,
  type UpstreamStage,
  type Warning,
} from '../api.ts';
import { memoized } from '../base/memoized.ts';
import { loadSplit, type SplitRequest } from './load-split.ts';
import { labelCounts, readDatasetInfo, readRows } from './rows-file.ts';
import { splitRequest } from './split-request.ts';
import { splitWarnings } from './split-warnings.ts';

/** Returns the counts of a completion task in a data stage's folder, whose rows are read once. */
const completionCounts = memoized(async (dir: string) => countRows(await readRows(dir), []));

async function countsIn(dir: string): Promise<SplitCounts> {
  const info = await readDatasetInfo(dir);
  return info.task === 'completion' ? completionCounts(dir) : info;
}

/**
 * Returns the counts of a data stage's rows. Null if finding them would take long, if the source is
 * not fetched yet, or if the rows have a fault, which the data stage reports.
 */
export async function knownCounts(
  context: Pick<PreflightContext, 'plugin'>,
  stage: UpstreamStage,
): Promise<SplitCounts | null> {
  return stage.dir !== null ? countsIn(stage.dir) : ifReadable(context, stage, splitCounts);
}

/** Returns what `knownCounts` returns, with the labels of the first `most` rows. */
export async function firstLabels(
  context: Pick<PreflightContext, 'plugin'>,
  stage: UpstreamStage,
  most: number,
): Promise<(SplitCounts & { readonly labels: readonly number[] }) | null> {
  if (stage.dir !== null) {
    const rows = await readRows(stage.dir, most);
    return { ...(await countsIn(stage.dir)), labels: rows.map(({ label }) => label) };
  }
  const read = await ifReadable(context, stage, splitCounts);
  return read && { ...read, labels: read.labels.slice(0, most) };
}

/** Returns the rows of a data stage; null where `knownCounts` returns null. */
export async function knownRows(
  context: Pick<PreflightContext, 'plugin'>,
  stage: UpstreamStage,
): Promise<readonly Row[] | null> {
  return stage.dir !== null
    ? readRows(stage.dir)
    : ifReadable(context, stage, async (request) => (await loadSplit(request)).rows);
}

/** Returns what `read` returns for the stage's split; null where `knownCounts` returns null. */
async function ifReadable<T>(
  { plugin }: Pick<PreflightContext, 'plugin'>,
  { params, assets }: UpstreamStage,
  read: (request: SplitRequest) => Promise<T>,
): Promise<T | null> {
  const request = ifFetched(() => splitRequest(params, assets, plugin));
  // An unordered data set is a corpus in a package, which takes seconds to read.
  if (request === null || request.dataset.unordered) return null;
  return read(request).catch((error: unknown) => {
    problemOf(error, []); // throws anything but a user's fault
    return null;
  });
}

/** Returns what `read` returns; null if it asks for a source that is not fetched yet. */
export function ifFetched<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if ((error as Error).name === 'NotFetched') return null;
    throw error;
  }
}

/** The classes of a split's rows, and how many rows each has (as in `DatasetInfo`). */
export interface SplitCounts {
  readonly classes: readonly string[];
  readonly counts: readonly number[];
  /** The answer of each row. Absent unless the rows are those of a completion task. */
  readonly answers?: readonly string[];
  /** The rejected answer of each row. Absent unless all rows are preference pairs. */
  readonly rejected?: readonly string[];
}

interface ReadSplit extends SplitCounts {
  readonly labels: readonly number[];
  readonly warnings: readonly Warning[];
}

const splitsByKey = new Map<string, Promise<ReadSplit>>();

/**
 * Returns the counts, labels and warnings of a split, which is read once for all cells. Throws as
 * `loadSplit` does.
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
  let counts = splitsByKey.get(key);
  if (counts === undefined) splitsByKey.set(key, (counts = readSplit(request)));
  return counts;
}

async function readSplit(request: SplitRequest): Promise<ReadSplit> {
  const loaded = await loadSplit(request);
  const warnings = splitWarnings(request, loaded);
  const labels = loaded.rows.map(({ label }) => label);
  return { ...countRows(loaded.rows, loaded.classes), labels, warnings };
}

/** Counts rows by class; in a completion task, also collects their answers. */
function countRows(rows: readonly Row[], classes: readonly string[]): SplitCounts {
  const counts = { classes, counts: labelCounts(rows, classes) };
  if (taskOf(classes) !== 'completion') return counts;
  const answers = rows.map(({ answer = '' }) => answer),
    rejected = rows.flatMap((row) => row.rejected ?? []);
  return { ...counts, answers, ...(rejected.length === rows.length ? { rejected } : {}) };
}

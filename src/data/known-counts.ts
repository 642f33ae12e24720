/** What a preflight knows of the rows that a data stage reads. */
import { type PreflightContext, problemOf, type Row, type UpstreamStage } from '../api.ts';
import { ifFetched } from './if-fetched.ts';
import { loadSplit, type SplitRequest } from './load-split.ts';
import { readDatasetInfo, readRows } from './rows-file.ts';
import { countsOf, type SplitCounts, splitCounts } from './split-counts.ts';
import { splitRequest } from './split-request.ts';

const answersIn = new Map<string, Promise<SplitCounts>>();

/** Returns the counts of a data stage's folder. The rows of each are read once. */
async function countsIn(dir: string): Promise<SplitCounts> {
  const info = await readDatasetInfo(dir);
  if (info.task === 'classes') return info;
  let counts = answersIn.get(dir);
  if (counts === undefined)
    answersIn.set(dir, (counts = readRows(dir).then((rows) => countsOf(rows, []))));
  return counts;
}

/**
 * Returns the classes of the rows and their counts. Null if finding them would take long, if their
 * source is not fetched yet, or if the rows have a fault, which the data stage reports.
 */
export async function knownCounts(
  context: Pick<PreflightContext, 'plugin'>,
  stage: UpstreamStage,
): Promise<SplitCounts | null> {
  return stage.dir !== null ? countsIn(stage.dir) : ifReadable(context, stage, splitCounts);
}

/** Returns the rows of a data stage, or null as `knownCounts` does. */
export async function knownRows(
  context: Pick<PreflightContext, 'plugin'>,
  stage: UpstreamStage,
): Promise<readonly Row[] | null> {
  return stage.dir !== null
    ? readRows(stage.dir)
    : ifReadable(context, stage, async (request) => (await loadSplit(request)).rows);
}

async function ifReadable<T>(
  { plugin }: Pick<PreflightContext, 'plugin'>,
  { params, assets }: UpstreamStage,
  read: (request: SplitRequest) => Promise<T>,
): Promise<T | null> {
  const request = ifFetched(() => splitRequest(params, assets, (kind, name) => plugin(kind, name)));
  // Reading a corpus from a package takes seconds.
  if (request === null || request.dataset.unordered) return null;
  return read(request).catch((error: unknown) => {
    problemOf(error, []); // throws anything but a user's fault
    return null;
  });
}

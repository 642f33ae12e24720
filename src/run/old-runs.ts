/**
 * `gc --runs` removes the folders of old runs under `.dosimeter/runs`: their journals and logs.
 * What the runs made stays in the store.
 */
import { lstatSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import { processState } from '../store/owner.ts';
import { readPins } from '../store/pins.ts';
import { readdirOr } from '../store/sweep.ts';
import { listRuns, readJournal } from './log/run-folder.ts';
import type { RunsToKeep } from './state-folder.ts';

export interface SweptRuns {
  /** The ids of the runs that were swept. */
  readonly swept: readonly string[];
  readonly kept: number;
  /**
   * The number of kept runs that are running, or may be because their process is on another host.
   */
  readonly live: number;
  /** The number of kept runs that are pinned. */
  readonly pinned: number;
  /**
   * The number of kept runs that are neither live nor pinned nor among the latest, but were written
   * to in the last days.
   */
  readonly young: number;
}

const DAY_MS = 24 * 3600 * 1000;
/**
 * A run of another host that has not ended counts as running only if its folder was written to
 * within this many days.
 */
const SILENT_DAYS = 30;

/**
 * @param root the store that holds the pins
 * @param runs the folder of the runs
 * @param dryRun whether only to report
 * @throws UserFault if a pin is damaged
 */
export function sweepRuns(
  root: string,
  runs: string,
  { latest, days }: RunsToKeep,
  dryRun: boolean,
): SweptRuns {
  const pins = new Set(readPins(root).map(({ of }) => of));
  const swept: string[] = [];
  let live = 0;
  let pinned = 0;
  let young = 0;
  let kept = 0;
  for (const [position, { id, dir }] of listRuns(runs).entries()) {
    const isLive = mayBeRunning(dir);
    const isPinned = pins.has(id);
    if (isLive) live++;
    if (isPinned) pinned++;
    const isHeld = isLive || isPinned || position < latest;
    if (isHeld || Date.now() - lastWritten(dir) <= days * DAY_MS) {
      kept++;
      if (!isHeld) young++;
      continue;
    }
    swept.push(id);
    if (dryRun) continue;
    // Renamed first, so that a sweep that is killed halfway leaves no partial run for `status` to
    // list.
    const aside = path.join(runs, `.swept-${id}`);
    renameSync(dir, aside);
    rmSync(aside, { recursive: true, force: true });
  }
  if (!dryRun) finishEarlierSweeps(runs);
  return { swept, kept, live, pinned, young };
}

/**
 * Whether the run has not ended and its process is alive, or is on another host and was recently
 * heard from.
 */
function mayBeRunning(dir: string): boolean {
  let events: readonly JsonObject[];
  try {
    ({ events } = readJournal(dir));
  } catch {
    return false; // no run writes to a journal that can't be read
  }
  if (events.some(({ event }) => event === 'ended')) return false;
  const created = events.find(({ event }) => event === 'created');
  if (created === undefined) return false;
  const state = processState(created);
  return (
    state === 'alive' ||
    (state === 'unknown' && Date.now() - lastWritten(dir) <= SILENT_DAYS * DAY_MS)
  );
}

/**
 * Returns the time at which anything at the top of the folder was last written, in milliseconds.
 */
function lastWritten(dir: string): number {
  return Math.max(
    lstatSync(dir).mtimeMs,
    ...readdirSync(dir).map(
      (name) => lstatSync(path.join(dir, name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    ),
  );
}

function finishEarlierSweeps(runs: string): void {
  for (const name of readdirOr(runs))
    if (name.startsWith('.swept-')) rmSync(path.join(runs, name), { recursive: true, force: true });
}

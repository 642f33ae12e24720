/** `gc --runs`: folders of old runs under `.dosimeter/runs`. What a run made stays in the store; its journal and logs go. */
import { lstatSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import { listRuns, readJournal } from '../log/run-folder.ts';
import { processState } from '../store/owner.ts';
import { readPins } from '../store/pins.ts';
import { readdirOr } from '../store/sweep.ts';
import type { RunsToKeep } from './places.ts';

export interface SweptRuns {
  /** Ids. */
  readonly swept: readonly string[];
  readonly kept: number;
  /** Of those kept, what goes on, or may (its process is on another host), or is pinned. */
  readonly live: number;
  readonly pinned: number;
}

const DAY_MS = 24 * 3600 * 1000;
/** A run of another host that has not ended may go on while something was written to its folder this lately. */
const SILENT_DAYS = 30;

/** @param root the store whose pins are asked. @param runs the folder of the runs. @throws UserFault on a damaged pin */
export function sweepRuns(
  root: string,
  runs: string,
  { latest, days }: RunsToKeep,
  dryRun: boolean,
): SweptRuns {
  const pinned = new Set(readPins(root).map(({ of }) => of));
  const swept: string[] = [];
  let live = 0,
    held = 0,
    kept = 0;
  for (const [place, { id, dir }] of listRuns(runs).entries()) {
    const isLive = mayGoOn(dir),
      isPinned = pinned.has(id);
    if (isLive) live++;
    if (isPinned) held++;
    if (isLive || isPinned || place < latest || Date.now() - lastWritten(dir) <= days * DAY_MS) {
      kept++;
      continue;
    }
    swept.push(id);
    if (dryRun) continue;
    // Out of sight in one step: a kill in the middle leaves no half of a run for `status` to show.
    const aside = path.join(runs, `.swept-${id}`);
    renameSync(dir, aside);
    rmSync(aside, { recursive: true, force: true });
  }
  if (!dryRun) sweepAside(runs);
  return { swept, kept, live, pinned: held };
}

/** It has not ended, and its process lives, or is where this one can't look and was heard of lately. */
function mayGoOn(dir: string): boolean {
  let events: readonly JsonObject[];
  try {
    ({ events } = readJournal(dir));
  } catch {
    return false; // whatever stands there, it is not a journal that a run writes to
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

/** When something in the folder was last written. */
function lastWritten(dir: string): number {
  return Math.max(
    lstatSync(dir).mtimeMs,
    ...readdirSync(dir).map(
      (name) => lstatSync(path.join(dir, name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    ),
  );
}

/** What a sweep that was killed has left. */
function sweepAside(runs: string): void {
  for (const name of readdirOr(runs))
    if (name.startsWith('.swept-')) rmSync(path.join(runs, name), { recursive: true, force: true });
}

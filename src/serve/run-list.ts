/** The list of the latest runs, kept up to date while anyone looks at it. */
import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { readdirOr } from '../store/sweep.ts';
import type { Follower } from './follower.ts';
import { isFolderInside } from './inside.ts';
import type { Held, Shared } from './shared.ts';
import { watchFolders } from './watch.ts';
import type { RunLine, RunList } from './wire.ts';

/** The number of runs that are listed. */
const LISTED = 50;
/** A run of another machine that has been silent for this long is no longer followed. */
const SILENT_MS = 24 * 3600 * 1000;
/** The time between two looks for new runs without a notification, in milliseconds. */
const LOOK_MS = 5000;

/** The names that a run may have. */
export const isRunName = (name: string): boolean => /^[0-9A-Za-z][\w.-]{0,127}$/.test(name);

export interface RunLister {
  /** Calls `listener` with the list, then whenever it changes. Returns a function that stops it. */
  listen(listener: (list: RunList) => void): () => void;
  close(): void;
}

interface Listed {
  /** Identifies the content of the journal by its size and its time. */
  readonly version: string;
  readonly line: RunLine;
  /** Held while the run goes on; null afterwards. */
  readonly live: Held<Follower> | null;
  readonly end: () => void;
}

interface Lines {
  of(id: string): RunLine | undefined;
  ids(): readonly string[];
  /** Brings the line of a run up to date with this version of its journal. */
  update(id: string, version: string): Promise<void>;
  drop(id: string): void;
}

/**
 * Keeps the line of each run, and follows a run for as long as it goes on.
 * @param onChange called when a run that is followed has changed
 */
function createLines(followers: Shared<Follower>, onChange: () => void): Lines {
  const listed = new Map<string, Listed>();
  /** Stops following a run, and keeps its line. */
  const rest = (id: string): void => {
    const entry = listed.get(id);
    if (entry === undefined) return;
    entry.end();
    entry.live?.release();
    listed.set(id, { ...entry, live: null, end: () => undefined });
  };
  return {
    of: (id) => listed.get(id)?.line,
    ids: () => [...listed.keys()],
    drop(id) {
      rest(id);
      listed.delete(id);
    },
    async update(id, version) {
      const known = listed.get(id);
      let follower = known?.live?.value;
      if (follower === undefined) {
        if (known?.version === version) return;
        const live = followers.hold(id);
        follower = live.value;
        await follower.look();
        listed.set(id, {
          version,
          line: lineOf(follower),
          live,
          end: follower.listen(null, onChange),
        });
      } else if (known) listed.set(id, { ...known, version, line: lineOf(follower) });
      if (!goesOn(follower)) rest(id);
    },
  };
}

/** Returns the version of a run's journal; null if there is no journal. */
async function versionOf(runs: string, id: string): Promise<string | null> {
  if (!(await isFolderInside(runs, id))) return null;
  const stat = await lstat(path.join(runs, id, 'journal.jsonl')).catch(() => null);
  return stat?.isFile() ? `${stat.ino} ${stat.size} ${stat.mtimeMs}` : null;
}

export function createRunLister(
  runs: string,
  followers: Shared<Follower>,
  onFault: (error: unknown) => void,
): RunLister {
  const lines = createLines(followers, () => void watching.look());
  const listeners = new Set<(list: RunList) => void>();
  let list: RunList = { runs: [], earlier: 0 },
    sent = '';
  const send = (ids: readonly string[], earlier: number): void => {
    list = { runs: ids.flatMap((id) => lines.of(id) ?? []), earlier };
    const text = JSON.stringify({
      ...list,
      runs: list.runs.map((line) => ({ ...line, left: 0, rate: 0 })),
    });
    if (text === sent) return;
    sent = text;
    for (const listener of listeners) listener(list);
  };
  const dropAll = (): void => {
    for (const id of lines.ids()) lines.drop(id);
  };
  const watching = watchFolders({
    dirs: [runs],
    onFault,
    leastMs: 500,
    lookMs: LOOK_MS,
    read: async () => {
      if (listeners.size === 0) return;
      const names = readdirOr(runs).filter(isRunName).sort().reverse();
      const shown: string[] = [];
      let seen = 0;
      for (const name of names) {
        if (shown.length >= LISTED) break;
        seen++;
        const version = await versionOf(runs, name);
        if (version === null) continue;
        await lines.update(name, version);
        shown.push(name);
      }
      for (const id of lines.ids()) if (!shown.includes(id)) lines.drop(id);
      if (listeners.size === 0) dropAll();
      else send(shown, names.length - seen);
    },
  });
  return {
    listen(listener) {
      if (sent !== '') listener(list);
      listeners.add(listener);
      void watching.look();
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) dropAll();
      };
    },
    close() {
      watching.close();
      dropAll();
    },
  };
}

function lineOf(follower: Follower): RunLine {
  const { now: _, ...line } = follower.facts();
  return line;
}

function goesOn(follower: Follower): boolean {
  const { state, heard, now } = follower.facts();
  return state === 'running' || (state === 'unknown' && now - (heard ?? 0) < SILENT_MS);
}

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
/** A run of another machine that was silent for so long is no longer followed. */
const SILENT_MS = 24 * 3600 * 1000;
/** The time between two looks for new runs without a notice, in milliseconds. */
const LOOK_MS = 5000;

/** The names that a run may have. */
export const isRunName = (name: string): boolean => /^[0-9A-Za-z][\w.-]{0,127}$/.test(name);

export interface RunLister {
  /** Calls `listener` with the list, then whenever it changes. Returns what ends it. */
  listen(listener: (list: RunList) => void): () => void;
  close(): void;
}

interface Listed {
  /** Names the content of the journal: its size and its time. */
  readonly version: string;
  readonly line: RunLine;
  /** Held while the run goes on; null afterwards. */
  readonly live: Held<Follower> | null;
  readonly end: () => void;
}

export function createRunLister(
  runs: string,
  followers: Shared<Follower>,
  onFault: (error: unknown) => void,
): RunLister {
  const listed = new Map<string, Listed>();
  const listeners = new Set<(list: RunList) => void>();
  let list: RunList = { runs: [], earlier: 0 };
  let sent = '';

  const versionOf = async (id: string): Promise<string | null> => {
    const stat = await lstat(path.join(runs, id, 'journal.jsonl')).catch(() => null);
    return stat?.isFile() ? `${stat.ino} ${stat.size} ${stat.mtimeMs}` : null;
  };
  const drop = (id: string): void => {
    const entry = listed.get(id);
    entry?.end();
    entry?.live?.release();
    listed.delete(id);
  };
  const update = async (id: string, version: string): Promise<void> => {
    const known = listed.get(id);
    if (known?.live) {
      listed.set(id, { ...known, version, line: lineOf(known.live.value) });
      if (!goesOn(known.live.value)) rest(id);
      return;
    }
    if (known?.version === version) return;
    const held = followers.hold(id);
    await held.value.look();
    const end = held.value.listen(null, () => void watching.look());
    listed.set(id, { version, line: lineOf(held.value), live: held, end });
    if (!goesOn(held.value)) rest(id);
  };
  /** Keeps the line of a run that is over, and no longer follows the run. */
  const rest = (id: string): void => {
    const entry = listed.get(id);
    if (entry === undefined) return;
    entry.end();
    entry.live?.release();
    listed.set(id, { ...entry, live: null, end: () => undefined });
  };
  const send = (ids: readonly string[], earlier: number): void => {
    list = { runs: ids.flatMap((id) => listed.get(id)?.line ?? []), earlier };
    const text = JSON.stringify({
      ...list,
      runs: list.runs.map((line) => ({ ...line, left: 0, rate: 0 })),
    });
    if (text === sent) return;
    sent = text;
    for (const listener of listeners) listener(list);
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
      let earlier = 0;
      for (const name of names) {
        if (shown.length >= LISTED) {
          earlier = names.length - names.indexOf(name);
          break;
        }
        const version = (await isFolderInside(runs, name)) ? await versionOf(name) : null;
        if (version === null) continue;
        await update(name, version);
        shown.push(name);
      }
      for (const id of listed.keys()) if (!shown.includes(id)) drop(id);
      send(shown, earlier);
    },
  });
  return {
    listen(listener) {
      if (sent !== '') listener(list);
      listeners.add(listener);
      void watching.look();
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) for (const id of [...listed.keys()]) drop(id);
      };
    },
    close() {
      watching.close();
      for (const id of [...listed.keys()]) drop(id);
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

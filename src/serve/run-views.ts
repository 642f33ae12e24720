/**
 * Serves all browsers from one reader for each run and one for each stage, which are kept while
 * anyone holds them, and keeps the list of the latest runs up to date while anyone looks at it.
 */
import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { readdirOr } from '../store/sweep.ts';
import { isFolderInside, watchFolders } from './files.ts';
import { type Follower, followRun } from './follower.ts';
import { followStage, type StageFollower } from './stage-follower.ts';
import { createResultsReader, readOutputs, type ResultsReader } from './stored.ts';
import type { Stream } from './stream.ts';
import { mayGoOn, type Results, type RunLine, type RunList, type Snapshot } from './wire.ts';

export interface Held<T> {
  readonly value: T;
  /** Releases the value. A second call does nothing. */
  readonly release: () => void;
}

export interface Shared<T> {
  /** Returns the open value of this name, or opens it. */
  hold(name: string): Held<T>;
  close(): void;
}

/**
 * Shares values between their holders, and closes those that nobody holds.
 * @param open opens the value of this name
 * @param idleMs how long a value stays open after its last holder has released it, since a page
 *   that is loaded again comes back for it
 */
function createShared<T extends { close(): void }>(
  open: (name: string) => T,
  idleMs = 10_000,
): Shared<T> {
  interface Entry {
    readonly value: T;
    holders: number;
    idle: NodeJS.Timeout | null;
  }
  const entries = new Map<string, Entry>();
  const end = (name: string, entry: Entry): void => {
    if (entry.idle !== null) clearTimeout(entry.idle);
    entries.delete(name);
    entry.value.close();
  };
  return {
    hold(name) {
      const entry = entries.get(name) ?? { value: open(name), holders: 0, idle: null };
      entries.set(name, entry);
      entry.holders++;
      if (entry.idle !== null) clearTimeout(entry.idle);
      entry.idle = null;
      let held = true;
      return {
        value: entry.value,
        release() {
          if (!held) return;
          held = false;
          entry.holders--;
          if (entry.holders > 0) return;
          entry.idle = setTimeout(() => end(name, entry), idleMs).unref();
        },
      };
    },
    close() {
      for (const [name, entry] of entries) end(name, entry);
    },
  };
}

/** One run, for a browser that looks at it. */
export interface RunView {
  snapshot(): Snapshot;
  results(group: string): Promise<Results>;
  /** Returns what the run's report has of all rows, as gzip; null if it has nothing. */
  outputs(): Promise<Buffer | null>;
  /** Whether the run has a stage of this id. */
  has(stage: string): boolean;
  /** Sends what happens after the event of this id. */
  follow(stream: Stream, after: string | null): void;
  /** Sends the details and the log of a stage; null for the log of the run. */
  watch(stream: Stream, stage: string | null): void;
  readonly release: () => void;
}

export interface RunViews {
  list(stream: Stream): void;
  /** Returns null if there is no such run. */
  open(run: string): Promise<RunView | null>;
  close(): void;
}

export interface RunViewsOptions {
  readonly runs: string;
  readonly store?: string;
  readonly onFault: (error: unknown) => void;
  readonly lookMs?: number;
}

/** The name of the follower of a run's own log, and the prefix, before the id, of a stage's. */
const RUN_LOG = 'run',
  STAGE = 'stage ';

interface OpenRun {
  readonly follower: Follower;
  readonly stages: Shared<StageFollower>;
  readonly results: ResultsReader;
  readonly outputs: () => Promise<Buffer | null>;
  close(): void;
}

/** Reads nothing until a run or the list is asked for. */
export function createRunViews({ runs, store, onFault, lookMs }: RunViewsOptions): RunViews {
  const pace = lookMs === undefined ? {} : { lookMs };
  const followers = createShared((id) => followRun({ runs, id, onFault, ...pace }));
  const openRuns = createShared((id): OpenRun => {
    const held = followers.hold(id);
    const follower = held.value;
    const storeOf = (): string | null => store ?? follower.record.plan?.store ?? null;
    const stages = createShared((name) =>
      followStage({
        follower,
        stage: name === RUN_LOG ? null : name.slice(STAGE.length),
        store: storeOf(),
        onFault,
        ...pace,
      }),
    );
    return {
      follower,
      stages,
      results: createResultsReader(follower, storeOf),
      async outputs() {
        const key = follower.record.stages.find(({ kind }) => kind === 'report')?.key ?? null;
        const from = storeOf();
        return key === null || from === null ? null : readOutputs(from, key);
      },
      close() {
        stages.close();
        held.release();
      },
    };
  });
  const lister = createRunLister(runs, followers, onFault);
  return {
    list(stream) {
      stream.onEnd(
        lister.listen((list) => stream.send({ name: 'runs', data: JSON.stringify(list) })),
      );
    },
    async open(run) {
      if (!isRunName(run) || !(await isFolderInside(runs, run))) return null;
      const journal = await lstat(path.join(runs, run, 'journal.jsonl')).catch(() => null);
      if (!journal?.isFile()) return null;
      const { value, release } = openRuns.hold(run);
      await value.follower.look();
      return viewOf(value, release, onFault);
    },
    close() {
      lister.close();
      openRuns.close();
      followers.close();
    },
  };
}

function viewOf(
  { follower, stages, results, outputs }: OpenRun,
  release: () => void,
  onFault: (error: unknown) => void,
): RunView {
  return {
    snapshot: () => follower.snapshot(),
    results: (group) => results.read(group),
    outputs,
    has: (stage) => follower.record.indexOf(stage) !== undefined,
    follow: (stream, after) => stream.onEnd(follower.listen(after, stream.send)),
    watch(stream, stage) {
      const held = stages.hold(stage === null ? RUN_LOG : STAGE + stage);
      stream.onEnd(held.release);
      held.value.listen(stream.send).then((end) => stream.onEnd(end), onFault);
    },
    release,
  };
}

const MOST_LISTED = 50;
/** A run of another machine that has been silent for this long is no longer followed. */
const SILENT_MS = 24 * 3600 * 1000;
/** The time between two looks for new runs without a notification, in milliseconds. */
const LOOK_MS = 5000;

const isRunName = (name: string): boolean => /^[0-9A-Za-z][\w.-]{0,127}$/.test(name);

interface RunLister {
  /** Calls `listener` with the list, then whenever it changes. Returns a function to stop that. */
  listen(listener: (list: RunList) => void): () => void;
  close(): void;
}

/** What is known of a run in the list. */
interface Listed {
  /** Identifies the content of the journal by its size and its time. */
  readonly version: string;
  readonly line: RunLine;
  /** Held while the run goes on; null afterwards. */
  readonly followed: Held<Follower> | null;
  /** Ends the calls of `onChange` for this run. */
  readonly stopListening: () => void;
}

interface RunLines {
  of(id: string): RunLine | undefined;
  ids(): readonly string[];
  /** Brings the line of a run up to date with this version of its journal. */
  update(id: string, version: string): Promise<void>;
  drop(id: string): void;
}

/**
 * Keeps the line of each run in the list, and follows a run for as long as it goes on.
 * @param onChange called when a run that is followed has changed
 */
function createRunLines(followers: Shared<Follower>, onChange: () => void): RunLines {
  const listed = new Map<string, Listed>();
  const unfollow = (id: string): void => {
    const entry = listed.get(id);
    if (entry === undefined) return;
    entry.stopListening();
    entry.followed?.release();
    listed.set(id, { ...entry, followed: null, stopListening: () => undefined });
  };
  return {
    of: (id) => listed.get(id)?.line,
    ids: () => [...listed.keys()],
    drop(id) {
      unfollow(id);
      listed.delete(id);
    },
    async update(id, version) {
      const known = listed.get(id);
      let follower = known?.followed?.value;
      if (follower === undefined) {
        if (known?.version === version) return;
        const followed = followers.hold(id);
        follower = followed.value;
        await follower.look();
        listed.set(id, {
          version,
          line: lineOf(follower),
          followed,
          stopListening: follower.listen(null, onChange),
        });
      } else if (known) listed.set(id, { ...known, version, line: lineOf(follower) });
      if (!isGoingOn(follower)) unfollow(id);
    },
  };
}

/** Returns what identifies the journal's content; null if the folder is no run. */
async function journalVersion(runs: string, id: string): Promise<string | null> {
  if (!(await isFolderInside(runs, id))) return null;
  const stat = await lstat(path.join(runs, id, 'journal.jsonl')).catch(() => null);
  return stat?.isFile() ? `${stat.ino} ${stat.size} ${stat.mtimeMs}` : null;
}

/** Lists the latest MOST_LISTED runs, newest first, and reads them only while anyone listens. */
function createRunLister(
  runs: string,
  followers: Shared<Follower>,
  onFault: (error: unknown) => void,
): RunLister {
  const lines = createRunLines(followers, () => void watching.look());
  const listeners = new Set<(list: RunList) => void>();
  let list: RunList = { runs: [], earlier: 0 },
    sentText = '';
  const sendIfChanged = (ids: readonly string[], earlier: number): void => {
    list = { runs: ids.flatMap((id) => lines.of(id) ?? []), earlier };
    const text = JSON.stringify({
      ...list,
      runs: list.runs.map((line) => ({ ...line, left: 0, rate: 0 })),
    });
    if (text === sentText) return;
    sentText = text;
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
        if (shown.length >= MOST_LISTED) break;
        seen++;
        const version = await journalVersion(runs, name);
        if (version === null) continue;
        await lines.update(name, version);
        shown.push(name);
      }
      for (const id of lines.ids()) if (!shown.includes(id)) lines.drop(id);
      if (listeners.size === 0) dropAll();
      else sendIfChanged(shown, names.length - seen);
    },
  });
  return {
    listen(listener) {
      if (sentText !== '') listener(list);
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

/** Whether the run is running or, with a state that may change, was heard of within a day. */
function isGoingOn(follower: Follower): boolean {
  const { state, heard, now } = follower.facts();
  return state === 'running' || (mayGoOn(state) && now - (heard ?? 0) < SILENT_MS);
}

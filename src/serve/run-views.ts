/** Shares one reader of each run and stage among browsers, and keeps the list of runs current. */
import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { readdirOr } from '../store/sweep.ts';
import { isRefused, watchFolders, type Watching } from './files.ts';
import { Follower, type FollowOptions } from './follower.ts';
import { StageFollower } from './stage-follower.ts';
import { readOutputs, ResultsReader } from './stored.ts';
import type { Stream } from './stream.ts';
import { mayGoOn, type Results, type RunLine, type RunList } from './wire.ts';

interface Held<T> {
  readonly value: T;
  /** Must be called exactly once. */
  readonly release: () => void;
}

/** How long a value stays open without a holder: a page that is loaded again needs it at once. */
const IDLE_MS = 10_000;

interface Entry<T> {
  readonly value: T;
  holders: number;
  idle?: NodeJS.Timeout;
}

/** Shares open values between their holders, and closes those that nobody holds. */
class Shared<T extends { close(): void }> {
  readonly #entries = new Map<string, Entry<T>>();

  constructor(readonly open: (name: string) => T) {}

  /** Returns the value of this name. It is opened, unless it is open already. */
  hold(name: string): Held<T> {
    const entry = this.#entries.get(name) ?? { value: this.open(name), holders: 0 };
    this.#entries.set(name, entry);
    entry.holders++;
    clearTimeout(entry.idle);
    return {
      value: entry.value,
      release: () => {
        if (--entry.holders === 0)
          entry.idle = setTimeout(() => this.#end(name, entry), IDLE_MS).unref();
      },
    };
  }

  #end(name: string, entry: Entry<T>): void {
    clearTimeout(entry.idle);
    this.#entries.delete(name);
    entry.value.close();
  }

  close(): void {
    for (const [name, entry] of this.#entries) this.#end(name, entry);
  }
}

export interface RunViewsOptions extends FollowOptions {
  /** The store to look into, instead of the one that a run recorded. */
  readonly store?: string;
}

class RunView {
  readonly follower: Follower;
  readonly #results: ResultsReader;
  readonly #stages: Shared<StageFollower>;

  constructor(
    readonly held: Held<Follower>,
    readonly options: RunViewsOptions,
  ) {
    this.follower = held.value;
    this.#results = new ResultsReader(this.follower);
    this.#stages = new Shared(
      (stage) => new StageFollower(this.follower, stage || null, this.#store, options),
    );
  }

  /** The store that the run's entries are in; null if it is not known. */
  get #store(): string | null {
    return this.options.store ?? this.follower.record.plan?.store ?? null;
  }

  /**
   * Returns the metrics of finished stages.
   * @param group the name of the box in the graph that stands for these stages
   */
  results(group: string): Promise<Results> {
    return this.#results.read(group, this.#store);
  }

  /** Returns the outputs of the run's report (JSON, compressed by gzip); null if it has none. */
  async outputs(): Promise<Buffer | null> {
    const key = this.follower.record.stages.find(({ kind }) => kind === 'report')?.key ?? null;
    const store = this.#store;
    return key === null || store === null ? null : readOutputs(store, key);
  }

  /** Sends `reset`, and then the run's events. */
  follow(stream: Stream): void {
    stream.onEnd(this.follower.listen(stream.send));
  }

  /** Sends the details and the log of a stage; if `stage` is null, only the log of the run. */
  watch(stream: Stream, stage: string | null): void {
    const held = this.#stages.hold(stage ?? '');
    stream.onEnd(held.release);
    held.value.listen(stream.send).then((end) => stream.onEnd(end), this.options.onFault);
  }

  close(): void {
    this.#stages.close();
    this.held.release();
  }
}

/** The runs and the list of them. Reads nothing until one of these is asked for. */
export class RunViews {
  readonly #followers: Shared<Follower>;
  readonly #views: Shared<RunView>;
  readonly #lister: RunLister;

  constructor(readonly options: RunViewsOptions) {
    this.#followers = new Shared((id) => new Follower(id, options));
    this.#views = new Shared((id) => new RunView(this.#followers.hold(id), options));
    this.#lister = new RunLister(this.#followers, options.runs, options.onFault);
  }

  /** Sends the list of the latest runs, and again whenever it changes. */
  list(stream: Stream): void {
    stream.onEnd(
      this.#lister.listen((list) => stream.send({ name: 'runs', data: JSON.stringify(list) })),
    );
  }

  /** Returns a run after reading what its files hold now; null if there is no such run. */
  async open(run: string): Promise<Held<RunView> | null> {
    if ((await journalVersion(this.options.runs, run)) === null) return null;
    const held = this.#views.hold(run);
    await held.value.follower.look();
    return held;
  }

  close(): void {
    this.#lister.close();
    this.#views.close();
    this.#followers.close();
  }
}

const MOST_LISTED = 50;
/** A run on another machine that has been silent for this long is no longer looked at. */
const SILENT_MS = 24 * 3600 * 1000;

/**
 * Whether a folder of this name may be that of a run: 1 to 128 letters, digits, dots, hyphens and
 * underscores, of which the first is a letter or a digit.
 */
const isRunName = (name: string): boolean => /^[0-9A-Za-z][\w.-]{0,127}$/.test(name);

/** Returns the inode, size and time of a run's journal; null if there is no such run. */
async function journalVersion(runs: string, id: string): Promise<string | null> {
  if (!isRunName(id)) return null;
  const folder = await lstat(path.join(runs, id)).catch((error: unknown) => {
    if (isRefused(error)) return null;
    throw error;
  });
  if (!folder?.isDirectory()) return null; // also a link to one
  const stat = await lstat(path.join(runs, id, 'journal.jsonl')).catch(() => null);
  return stat?.isFile() ? `${stat.ino} ${stat.size} ${stat.mtimeMs}` : null;
}

interface Listed {
  /** What `journalVersion` returned when the run was read. */
  readonly version: string;
  readonly line: RunLine;
  /** Whether the line may change although the journal does not. */
  readonly goesOn: boolean;
}

type ListListener = (list: RunList) => void;

/** Lists the latest MOST_LISTED runs, newest first, and reads them only while anyone listens. */
class RunLister {
  readonly #listed = new Map<string, Listed>();
  readonly #listeners = new Set<ListListener>();
  readonly #watching: Watching;
  #list: RunList = { runs: [], earlier: 0 };
  #sentText = '';

  constructor(
    readonly followers: Shared<Follower>,
    readonly runs: string,
    onFault: (error: unknown) => void,
  ) {
    this.#watching = watchFolders({
      dirs: [runs],
      onFault,
      leastMs: 500,
      read: () => this.#read(),
    });
  }

  /**
   * Calls `listener` with the list, and again whenever it changes. Returns a function that stops
   * this.
   */
  listen(listener: ListListener): () => void {
    if (this.#sentText !== '') listener(this.#list);
    this.#listeners.add(listener);
    void this.#watching.look();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#listed.clear();
    };
  }

  close(): void {
    this.#watching.close();
  }

  /** Brings the lines of the latest runs up to date; does nothing while nobody listens. */
  async #read(): Promise<void> {
    if (this.#listeners.size === 0) return;
    const names = readdirOr(this.runs).filter(isRunName).sort().reverse();
    const shown: string[] = [];
    let seen = 0;
    for (const name of names) {
      if (shown.length >= MOST_LISTED) break;
      seen++;
      const version = await journalVersion(this.runs, name);
      if (version === null) continue;
      await this.#update(name, version);
      shown.push(name);
    }
    for (const id of this.#listed.keys()) if (!shown.includes(id)) this.#listed.delete(id);
    if (this.#listeners.size > 0) this.#sendIfChanged(shown, names.length - seen);
  }

  /**
   * Sends the list of these runs, unless nothing but estimates differs from the list that was sent
   * last.
   */
  #sendIfChanged(ids: readonly string[], earlier: number): void {
    const runs = ids.flatMap((id) => this.#listed.get(id)?.line ?? []);
    this.#list = { runs, earlier };
    const text = JSON.stringify({
      runs: runs.map((line) => ({ ...line, left: 0, rate: 0 })),
      earlier,
    });
    if (text === this.#sentText) return;
    this.#sentText = text;
    for (const listener of this.#listeners) listener(this.#list);
  }

  /**
   * Brings a run's line up to date. The run's follower stays open until the next look, which comes
   * before IDLE_MS have passed.
   */
  async #update(id: string, version: string): Promise<void> {
    const known = this.#listed.get(id);
    if (known?.version === version && !known.goesOn) return;
    const { value: follower, release } = this.followers.hold(id);
    await follower.look();
    release();
    const { now, ...line } = follower.facts();
    const goesOn =
      line.state === 'running' || (mayGoOn(line.state) && now - (line.heard ?? 0) < SILENT_MS);
    this.#listed.set(id, { version, line, goesOn });
  }
}

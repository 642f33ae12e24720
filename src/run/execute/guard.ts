/**
 * Guards what a stage reads: before and after the stage reads it, it must be what the stage's key
 * says. Inputs and sources can be written to by the stage's code and by everyone else on the
 * machine, and read-only modes do not bind root. Where the state of a file cannot tell whether it
 * was written to, its bytes are hashed again.
 */
import type { Stats } from 'node:fs';
import type { Asset, OutputFile } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import { sha256 } from '../../base/sha256.ts';
import type { ActionKey } from '../../plan/types.ts';
import type { Soon } from '../../store/files.ts';
import {
  contentFault,
  foldersOf,
  statIfThere,
  statIfWhole,
  statOpened,
  strayFile,
  TICK_MS,
  whenThere,
} from '../../store/files.ts';
import type { Entry, ManifestFile } from '../../store/manifest.ts';
import type { FileState, FileStates } from './file-states.ts';
import {
  filesOfSource,
  fileState,
  isOld,
  isSame,
  isUnchanged,
  isWritten,
  noStates,
  statesAtLookUp,
  statesOfOutputs,
  sureByNow,
} from './file-states.ts';

/** Returns a source as it is now, by its URI; null if it is gone. */
export type Locate = (uri: string) => Promise<Asset | null>;

/** The files that one stage reads, as they were when the stage was about to start. */
export interface Reads {
  /**
   * Returns what has changed since then ("its input …"), or null if the stage read what its key
   * says. Returns a `Spoilt` if no more is known than that some inputs were damaged before then.
   */
  fault(): Promise<string | Spoilt | null>;
  /**
   * A digest of every file's inode, size and times, or '' for a stage that reads nothing. It stays
   * the same in the next run, unless a file has been written to.
   */
  readonly digest: string;
}

/** The names of inputs that were already damaged when the stage began. */
export interface Spoilt {
  readonly inputs: readonly string[];
}

/** An entry that a stage reads. */
export interface ReadEntry {
  readonly name: string;
  readonly entry: Entry;
  /** Whether `entryFault` has just found it whole. */
  readonly checked: boolean;
}

export interface Guard {
  /**
   * Returns what is wrong with a stored entry that is about to be read, or null.
   * @param fresh this run made the entry, and hashed its files a moment ago
   */
  entryFault(entry: Entry, fresh: boolean): Soon<string | null>;
  /**
   * Whether one check of an entry, after a stage has read it, tells whether the stage read what was
   * stored: the states of all of its files were known before, and it is not known to have changed
   * since.
   */
  mayWait(entry: Entry): boolean;
  /** Returns what is wrong with a source that is about to be read, as a sentence, or null. */
  assetFault(asset: Asset): Promise<string | null>;
  /**
   * Starts to watch what a stage reads. Each source has passed `assetFault`, and each input
   * `entryFault` or `mayWait`.
   * @param isCurrent whether this run still reads the entry: it has not found it damaged since
   */
  reads(
    inputs: readonly ReadEntry[],
    assets: readonly Asset[],
    isCurrent: (entry: Entry) => boolean,
  ): Reads;
  /** Returns the states of outputs that have just been hashed; call it before they are published. */
  hashed(dir: string, files: readonly OutputFile[]): FileStates;
  /** Uses the states of `hashed` as those of the entry that these outputs have become. */
  stored(key: ActionKey, hashed: FileStates): void;
}

export function createGuard(locate?: Locate): Guard {
  const entries = createEntryGuard();
  const assets = createAssetGuard(locate);
  return {
    entryFault: (entry, fresh) => entries.fault(entry, fresh),
    mayWait: (entry) => entries.mayWait(entry),
    assetFault: (asset) => assets.fault(asset),
    hashed: statesOfOutputs,
    stored: (key, hashed) => entries.stored(key, hashed),
    reads(inputs, sources, isCurrent) {
      const started = Date.now();
      const held = inputs.map(({ name, entry, checked }) => ({
        name,
        entry,
        checked,
        states: entries.states(entry),
      }));
      const open = sources.map((asset) => ({ asset, states: assets.states(asset.uri) }));
      return {
        get digest() {
          return digestOfStates([
            ...held.map(({ name, states }) => ({ what: name, states })),
            ...open.map(({ asset, states }) => ({ what: asset.uri, states })),
          ]);
        },
        async fault() {
          const spoilt: string[] = [];
          for (const { name, entry, checked, states } of held) {
            const found = entries.change(entry, states),
              change = found instanceof Promise ? await found : found;
            if (change === null) continue;
            // A repair for another reader, too, leaves files that are younger than the start.
            if (checked || (isCurrent(entry) && isTouched(entry, started)))
              return `its input "${name}" was changed after it was stored (${change})`;
            spoilt.push(name);
          }
          if (spoilt.length > 0) return { inputs: spoilt };
          for (const { asset, states } of open) {
            const change = await assets.change(asset, states);
            if (change !== null) return `a source was changed while it ran: ${change}`;
          }
          return null;
        },
      };
    },
  };
}

/** Whether one of an entry's files or folders shows a change since the given time. */
function isTouched({ dir, manifest: { files } }: Entry, since: number): boolean {
  const names = ['', ...foldersOf(files), ...files.map(({ path: name }) => name)];
  return names.some((name) => {
    const stat = statIfThere(`${dir}/${name}`);
    return stat !== undefined && Math.max(stat.mtimeMs, stat.ctimeMs) >= since - TICK_MS;
  });
}

function digestOfStates(
  read: readonly { readonly what: string; readonly states: FileStates }[],
): string {
  if (read.length === 0) return '';
  const lines: string[] = [];
  for (const { what, states } of read)
    states.forEach(({ ino, size, mtime, ctime }, file) => {
      lines.push(`${what}\n${file}\n${ino} ${size} ${mtime} ${ctime}`);
    });
  return sha256(lines.sort().join('\n'));
}

/** One check of an entry's files. */
interface Check {
  readonly entry: Entry;
  /** The states from before the entry was read; null if it is about to be read. */
  readonly then: FileStates | null;
  /** What is known of the files so far. */
  readonly before: FileStates;
  readonly fresh: boolean;
  /** The states that the check adds; null as long as there are none. */
  seen: Map<string, FileState> | null;
}

function noteState(check: Check, name: string, stat: Stats, sure: boolean, hashed: boolean): void {
  (check.seen ??= new Map<string, FileState>()).set(name, fileState(stat, { sure, hashed }));
}

/** Returns what is wrong with the files from the given index on, or null if nothing is wrong. */
function faultOfFiles(check: Check, from: number): Soon<string | null> {
  const { files } = check.entry.manifest;
  for (let i = from; i < files.length; i++) {
    const fault = faultOfFile(check, at(files, i));
    if (fault instanceof Promise) return fault.then((found) => found ?? faultOfFiles(check, i + 1));
    if (fault !== null) return fault;
  }
  return null;
}

function faultOfFile(check: Check, file: ManifestFile): Soon<string | null> {
  const { entry, then, before, fresh } = check;
  const name = file.path,
    full = `${entry.dir}/${name}`,
    state = before.get(name);
  // Either nothing is known of the file yet, or no more than its stats from before it was read.
  if (then === null ? state === undefined && !fresh : state?.sure === false && !state.hashed) {
    const whole = statIfWhole(full, file);
    if (whole !== null && (state === undefined || isSame(state, whole))) {
      noteState(check, name, whole, isOld(whole), false);
      return null;
    }
  }
  let stat = statIfThere(full);
  if (!stat?.isFile()) return `${name} is missing`;
  if (state?.sure && isSame(state, stat)) return null;
  if (then !== null && state !== undefined && isWritten(state, stat)) {
    // Some file systems number a file otherwise once it is opened, as it was before.
    const opened = statOpened(full);
    if (opened === null || isWritten(state, opened)) return `${name} was written to`;
    if (state.sure && isSame(state, opened)) return null;
    stat = opened;
  }
  const hashed = state?.hashed === true && isSame(state, stat);
  const old = isOld(stat);
  // A young file has to be hashed after the stage has read it in any case.
  if (then === null && (hashed || (fresh && !old && !state?.hashed))) {
    noteState(check, name, stat, false, hashed);
    return null;
  }
  return ifSound(contentFault(entry.dir, file, stat.size), () =>
    noteState(check, name, stat, old, hashed),
  );
}

/** Returns the fault, and calls `act` if it is null. */
const ifSound = (fault: Soon<string | null>, act: () => void): Soon<string | null> =>
  whenThere(fault, (found) => {
    if (found === null) act();
    return found;
  });

function createEntryGuard() {
  const known = new Map<ActionKey, FileStates>();
  const suspects = new Set<ActionKey>();

  /**
   * Returns what is wrong with an entry, or null if nothing is wrong.
   * @param then the states from before the entry was read; null if it is about to be read
   */
  const faultOf = (entry: Entry, then: FileStates | null, fresh: boolean): Soon<string | null> => {
    const before = then ?? sureByNow(known.get(entry.key) ?? noStates);
    const check: Check = { entry, then, before, fresh, seen: null };
    return whenThere(faultOfFiles(check, 0), (fault) => conclude(check, fault));
  };

  /** @param fault what is wrong with the entry's files */
  const conclude = ({ entry, seen }: Check, fault: string | null): string | null => {
    if (fault !== null) return fault;
    if (seen !== null) {
      const all = known.get(entry.key);
      known.set(entry.key, all === undefined ? seen : new Map([...all, ...seen]));
    }
    const stray = strayFile(entry);
    return stray === null ? null : `${stray} was added`;
  };

  const suspect = (key: ActionKey, change: string | null): string | null => {
    if (change !== null) {
      known.delete(key);
      suspects.add(key);
    }
    return change;
  };

  return {
    states(entry: Entry): FileStates {
      const states = known.get(entry.key);
      return states === undefined ? statesAtLookUp(entry) : sureByNow(states);
    },
    mayWait({ key, seen, manifest: { files } }: Entry): boolean {
      const states = known.get(key);
      return (
        !suspects.has(key) &&
        (states === undefined ? seen !== undefined : states.size === files.length)
      );
    },
    fault(entry: Entry, fresh: boolean): Soon<string | null> {
      if (suspects.size === 0) return faultOf(entry, null, fresh);
      const { key } = entry;
      return ifSound(faultOf(entry, null, fresh && !suspects.has(key)), () => {
        suspects.delete(key);
      });
    },
    /**
     * Returns what has changed since `then`. If something has, the next reader hashes the entry.
     */
    change(entry: Entry, then: FileStates): Soon<string | null> {
      return whenThere(faultOf(entry, then, false), (change) => suspect(entry.key, change));
    },
    stored(key: ActionKey, hashed: FileStates): void {
      suspects.delete(key);
      known.set(key, hashed);
    },
  };
}

function createAssetGuard(locate: Locate | undefined) {
  const known = new Map<string, FileStates>();

  const digestFault = async ({ uri, digest }: Asset): Promise<string | null> => {
    if (locate === undefined) return null;
    let now: Asset | null;
    try {
      now = await locate(uri);
    } catch (error) {
      return `${uri} can't be read any more: ${(error as Error).message}`;
    }
    if (now === null) return `${uri} is gone`;
    return now.digest === digest ? null : `${uri} is not what it was when the run began`;
  };

  const changeSince = async (asset: Asset, then: FileStates): Promise<string | null> => {
    const now = filesOfSource(asset.path);
    const named = (name: string): string => (name === '' ? asset.uri : `${name} of ${asset.uri}`);
    for (const [name, state] of then) {
      const stat = now.get(name);
      if (stat === undefined) return `${named(name)} is gone`;
      if (isWritten(state, stat)) return `${named(name)} was written to`;
    }
    for (const name of now.keys()) if (!then.has(name)) return `${named(name)} was added`;
    return isUnchanged(then, now) ? null : digestFault(asset);
  };

  return {
    states: (uri: string): FileStates => known.get(uri) ?? noStates,
    async fault(asset: Asset): Promise<string | null> {
      const now = filesOfSource(asset.path),
        before = known.get(asset.uri);
      if (before !== undefined && isUnchanged(before, now)) return null;
      const sure = [...now.values()].every(isOld);
      const fault = await digestFault(asset);
      if (fault === null)
        known.set(
          asset.uri,
          new Map([...now].map(([name, stat]) => [name, fileState(stat, { sure })])),
        );
      return fault;
    },
    async change(asset: Asset, then: FileStates): Promise<string | null> {
      const change = await changeSince(asset, then);
      if (change !== null) known.delete(asset.uri);
      return change;
    },
  };
}

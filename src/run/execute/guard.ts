/**
 * Guards what a stage reads: it must be what the stage's key says, before and after it is read.
 * Inputs and sources can be written to by the stage's code and by everyone else on the machine, and
 * read-only modes do not bind root. As in git's index, a file's inode, size and times tell whether
 * it was written to since the last look. This holds only if the file was older than a tick at that
 * look: file systems stamp times in steps (`TICK_MS`), so two writes within one step may leave the
 * same times. Where these facts can't tell, the file's bytes are hashed again.
 */
import { readdirSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import type { Asset } from '../../api.ts';
import { sha256 } from '../../base/sha256.ts';
import type { ActionKey } from '../../plan/types.ts';
import { contentFault, statIfThere, statOpened, strayFile, TICK_MS } from '../../store/files.ts';
import { type Entry, keptFiles, type ManifestFile } from '../../store/manifest.ts';

/** Looks up a source by its URI; null if it is gone. */
export type Locate = (uri: string) => Promise<Asset | null>;

/** The files that one stage reads, as they were when the stage was about to start. */
export interface Reads {
  /**
   * Returns what has changed since then, as a sentence ("its input …"); null if nothing that
   * matters has.
   */
  fault(): Promise<string | null>;
  /**
   * The digest of every file's inode, size and times; '' for a stage that reads nothing. It is the
   * same in the next run unless a file was written to, or its mode or times were set.
   */
  readonly digest: string;
}

/** An entry that a stage reads, with the name of the stage's input. */
export interface ReadEntry {
  readonly name: string;
  readonly entry: Entry;
}

export interface Guard {
  /** Returns what is wrong with a stored entry that is about to be read; null if nothing is. */
  entryFault(entry: Entry): Promise<string | null>;
  /**
   * Returns what is wrong with a source that is about to be read, as a sentence; null if nothing
   * is.
   */
  assetFault(asset: Asset): Promise<string | null>;
  /**
   * Starts to watch what a stage reads. The inputs and sources have just passed `entryFault` and
   * `assetFault`.
   */
  reads(inputs: readonly ReadEntry[], assets: readonly Asset[]): Reads;
}

/**
 * Returns the guard of a run.
 * @param locate looks a source up again; by default, a source's digest is not compared
 */
export function createGuard(locate?: Locate): Guard {
  const entries = createEntryGuard();
  const assets = createAssetGuard(locate);
  return {
    entryFault: entries.fault,
    assetFault: (asset) => assets.fault(asset),
    reads(inputs, sources) {
      const held = inputs.map(({ name, entry }) => ({
        what: name,
        entry,
        states: entries.states(entry.key),
      }));
      const open = sources.map((asset) => ({
        what: asset.uri,
        asset,
        states: assets.states(asset.uri),
      }));
      return {
        get digest() {
          return digestOfStates([...held, ...open]);
        },
        async fault() {
          for (const { what, entry, states } of held) {
            const change = await entries.change(entry, states);
            if (change !== null)
              return `its input "${what}" was changed after it was stored (${change})`;
          }
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

interface FileState {
  readonly ino: number;
  readonly size: number;
  readonly mtime: number;
  readonly ctime: number;
  /** Whether a file with these stats surely has the right content. */
  readonly isProven: boolean;
}

/**
 * The states of files, by path. Such a map is never changed, because a stage keeps the map from its
 * start.
 */
type FileStates = ReadonlyMap<string, FileState>;
const NO_STATES: FileStates = new Map();

const fileState = ({ ino, size, mtimeMs, ctimeMs }: Stats, isProven: boolean): FileState => ({
  ino,
  size,
  mtime: mtimeMs,
  ctime: ctimeMs,
  isProven,
});

/** Whether any write to the file from now on would show in its times. */
const isOld = ({ mtimeMs, ctimeMs }: Stats): boolean =>
  Math.max(mtimeMs, ctimeMs) < Date.now() - TICK_MS;

/**
 * Whether a file was overwritten or replaced. A new ctime alone does not count, since a change of
 * the mode or of the times sets it too.
 */
const isWritten = (then: FileState, now: Stats): boolean =>
  then.ino !== now.ino || then.size !== now.size || then.mtime !== now.mtimeMs;

const isSame = (then: FileState, now: Stats): boolean =>
  !isWritten(then, now) && then.ctime === now.ctimeMs;

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

/** Keeps the states of the files of sound entries. */
function createEntryGuard() {
  const known = new Map<ActionKey, FileStates>();
  /** Returns the states of an entry's files at the last look; empty before the first. */
  const states = (key: ActionKey): FileStates => known.get(key) ?? NO_STATES;

  /**
   * Returns the states of an entry's files, or what is wrong with it. Hashes files whose states
   * can't tell that they are sound.
   * @param then the states from before the entry was read; null if it is about to be read
   */
  const look = async (entry: Entry, then: FileStates | null): Promise<FileStates | string> => {
    const before = then ?? states(entry.key),
      seen = new Map<string, FileState>();
    for (const file of keptFiles(entry.manifest)) {
      const found = await stateOrFault(entry, file, before.get(file.path), then !== null);
      if (typeof found === 'string') return found;
      seen.set(file.path, found);
    }
    const stray = strayFile(entry);
    return stray === null ? seen : `${stray} was added`;
  };

  /**
   * Returns what is wrong with an entry; null if nothing is. After a fault, the next reader hashes
   * the entry.
   * @param then the states from before the entry was read; null if it is about to be read
   */
  const change = async (entry: Entry, then: FileStates | null): Promise<string | null> => {
    const found = await look(entry, then);
    if (typeof found === 'string') {
      known.delete(entry.key);
      return found;
    }
    known.set(entry.key, found);
    return null;
  };

  return { states, change, fault: (entry: Entry) => change(entry, null) };
}

/**
 * Returns the state of a sound file, or what is wrong with it.
 * @param before its state at the last look; undefined at the first
 * @param wasRead whether a stage has read it since that look
 */
async function stateOrFault(
  { dir }: Entry,
  file: ManifestFile,
  before: FileState | undefined,
  wasRead: boolean,
): Promise<FileState | string> {
  const full = `${dir}/${file.path}`;
  let stat = statIfThere(full);
  if (!stat?.isFile()) return `${file.path} is missing`;
  if (before?.isProven && isSame(before, stat)) return before;
  if (wasRead && before !== undefined && isWritten(before, stat)) {
    // Some file systems give a file another inode number once it is opened. So the stats of the
    // opened file are compared too, before the file counts as written to.
    const opened = statOpened(full);
    if (opened === null || isWritten(before, opened)) return `${file.path} was written to`;
    if (before.isProven && isSame(before, opened)) return before;
    stat = opened;
  }
  const state = fileState(stat, isOld(stat));
  return (await contentFault(dir, file, stat.size)) ?? state;
}

/**
 * Returns the stats of every file of a source, by its path below the root ('' if the source is a
 * file). Links are followed; hidden files are not part of a source.
 */
function filesOfSource(root: string): ReadonlyMap<string, Stats> {
  const found = new Map<string, Stats>(),
    entered = new Set<number>();
  /**
   * Adds the files at `full` or below it to `found`; `name` is its path below the root. Enters each
   * folder once, so that a link to a folder above ends.
   */
  const visit = (full: string, name: string): void => {
    const stat = statSync(full, { throwIfNoEntry: false });
    if (stat === undefined) return;
    if (!stat.isDirectory()) {
      found.set(name, stat);
      return;
    }
    if (entered.has(stat.ino)) return;
    entered.add(stat.ino);
    for (const child of readdirSync(full))
      if (!child.startsWith('.'))
        visit(path.join(full, child), name === '' ? child : `${name}/${child}`);
  };
  visit(root, '');
  return found;
}

/** Whether a source has the same files, each proven to have the same content. */
const haveSameFiles = (then: FileStates, now: ReadonlyMap<string, Stats>): boolean =>
  then.size === now.size &&
  [...then].every(([name, state]) => {
    const stat = now.get(name);
    return state.isProven && stat !== undefined && isSame(state, stat);
  });

/** Keeps the states of the files of sources that had the right digest when last looked at. */
function createAssetGuard(locate: Locate | undefined) {
  const known = new Map<string, FileStates>();

  /**
   * Looks a source up again. Returns what is wrong with it; null if nothing is, or without
   * `locate`.
   */
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

  /** Returns how a source differs from these states; null if it does not. */
  const changeSince = async (asset: Asset, then: FileStates): Promise<string | null> => {
    const now = filesOfSource(asset.path);
    const named = (name: string): string => (name === '' ? asset.uri : `${name} of ${asset.uri}`);
    for (const [name, state] of then) {
      const stat = now.get(name);
      if (stat === undefined) return `${named(name)} is gone`;
      if (isWritten(state, stat)) return `${named(name)} was written to`;
    }
    for (const name of now.keys()) if (!then.has(name)) return `${named(name)} was added`;
    return haveSameFiles(then, now) ? null : digestFault(asset);
  };

  return {
    /** Returns the states of a source's files when it was last found sound; empty before that. */
    states: (uri: string): FileStates => known.get(uri) ?? NO_STATES,
    /** Returns what is wrong with a source that is about to be read; null if nothing is. */
    async fault(asset: Asset): Promise<string | null> {
      const now = filesOfSource(asset.path),
        before = known.get(asset.uri);
      if (before !== undefined && haveSameFiles(before, now)) return null;
      const isProven = [...now.values()].every(isOld);
      const fault = await digestFault(asset);
      if (fault === null)
        known.set(
          asset.uri,
          new Map([...now].map(([name, stat]) => [name, fileState(stat, isProven)])),
        );
      return fault;
    },
    /**
     * Returns how a source differs from its states before it was read; null if it does not. After a
     * change, the next reader looks the source up again.
     */
    async change(asset: Asset, then: FileStates): Promise<string | null> {
      const change = await changeSince(asset, then);
      if (change !== null) known.delete(asset.uri);
      return change;
    },
  };
}

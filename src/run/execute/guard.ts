/**
 * Guards what a stage reads: it must be what the stage's key says, before and after it is read.
 * Inputs and sources can be written to by the stage's code and by everyone else on the machine, and
 * read-only modes do not bind root. As in git's index, a file's inode, size and times tell whether
 * it was written to since the last look, if it was old enough then. File systems stamp times in
 * steps (`TICK_MS`), so two writes within one step may leave the same times. Where the state of a
 * file can't tell, its bytes are hashed again.
 */
import { lstatSync, readdirSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import type { Asset, OutputFile } from '../../api.ts';
import { sha256 } from '../../base/sha256.ts';
import type { ActionKey } from '../../plan/types.ts';
import { contentFault, statIfThere, statOpened, strayFile, TICK_MS } from '../../store/files.ts';
import { type Entry, keptFiles, type ManifestFile } from '../../store/manifest.ts';

/** Returns a source as it is now, by its URI; null if it is gone. */
export type Locate = (uri: string) => Promise<Asset | null>;

/** The files that one stage reads, as they were when the stage was about to start. */
export interface Reads {
  /** Returns what has changed since then ("its input …"); null if nothing that matters has. */
  fault(): Promise<string | null>;
  /**
   * A digest of every file's inode, size and times; '' for a stage that reads nothing. It is the
   * same in the next run unless a file was written to.
   */
  readonly digest: string;
}

/** An entry that a stage reads, by the name of the stage's input. */
export interface ReadEntry {
  readonly name: string;
  readonly entry: Entry;
}

export interface Guard {
  /** Returns what is wrong with a stored entry that is about to be read, or null. */
  entryFault(entry: Entry): Promise<string | null>;
  /** Returns what is wrong with a source that is about to be read, as a sentence, or null. */
  assetFault(asset: Asset): Promise<string | null>;
  /** Starts to watch what a stage reads, which has just passed `entryFault` and `assetFault`. */
  reads(inputs: readonly ReadEntry[], assets: readonly Asset[]): Reads;
  /**
   * Notes an entry that this run has just hashed and stored, so that it need not be hashed again.
   * @param states the states of its files from before it was stored (`statesOfOutputs`)
   */
  stored(key: ActionKey, states: FileStates): void;
}

export function createGuard(locate?: Locate): Guard {
  const entries = createEntryGuard();
  const assets = createAssetGuard(locate);
  return {
    entryFault: (entry) => entries.fault(entry),
    assetFault: (asset) => assets.fault(asset),
    stored: (key, states) => entries.stored(key, states),
    reads(inputs, sources) {
      const held = inputs.map(({ name, entry }) => ({
        name,
        entry,
        states: entries.states(entry.key),
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
          for (const { name, entry, states } of held) {
            const change = await entries.change(entry, states);
            if (change !== null)
              return `its input "${name}" was changed after it was stored (${change})`;
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
  /**
   * Whether a file that still has these stats surely has the right content. `after a tick`: unless
   * a write within a tick of `ctime` set the mtime back, so only for a reader that starts after
   * that tick.
   */
  readonly proof: 'full' | 'after a tick' | 'none';
}

/** States by path. Maps are never changed, because a stage keeps the one from its start. */
export type FileStates = ReadonlyMap<string, FileState>;
export const noStates: FileStates = new Map();

const fileState = (
  { ino, size, mtimeMs, ctimeMs }: Stats,
  proof: FileState['proof'],
): FileState => ({ ino, size, mtime: mtimeMs, ctime: ctimeMs, proof });

const isOld = ({ mtimeMs, ctimeMs }: Stats): boolean =>
  Math.max(mtimeMs, ctimeMs) < Date.now() - TICK_MS;

/**
 * Whether the file was overwritten or replaced. If only the ctime differs, perhaps the mode was
 * changed or the times were set.
 */
const isWritten = (then: FileState, now: Stats): boolean =>
  then.ino !== now.ino || then.size !== now.size || then.mtime !== now.mtimeMs;

const isSame = (then: FileState, now: Stats): boolean =>
  !isWritten(then, now) && then.ctime === now.ctimeMs;

/** Returns the states with full proof for files whose tick has passed since. */
function provenByNow(states: FileStates): FileStates {
  const tickAgo = Date.now() - TICK_MS;
  return new Map(
    [...states].map(([name, state]) => [
      name,
      state.proof === 'after a tick' && state.ctime < tickAgo ? { ...state, proof: 'full' } : state,
    ]),
  );
}

/**
 * Returns the states of outputs whose times were set back before they were hashed
 * (`digestOutputs`). Files that were written to since have the time of that write, and are left
 * out.
 */
export function statesOfOutputs(dir: string, files: readonly OutputFile[]): FileStates {
  const states = new Map<string, FileState>();
  for (const { path: name, size } of files) {
    const stat = lstatSync(`${dir}/${name}`, { throwIfNoEntry: false });
    if (stat?.isFile() && stat.size === size && stat.mtimeMs < stat.ctimeMs - TICK_MS)
      states.set(name, fileState(stat, 'after a tick'));
  }
  return states;
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

function createEntryGuard() {
  const known = new Map<ActionKey, FileStates>();
  /** The entries whose files this run hashed while it stored them. */
  const own = new Set<ActionKey>();

  /**
   * Returns what is wrong with an entry; null if nothing is. After a fault, the next reader hashes
   * the entry.
   * @param then the states from before the entry was read; null if it is about to be read
   */
  const faultOf = async (entry: Entry, then: FileStates | null): Promise<string | null> => {
    const { key, manifest } = entry;
    const before = then ?? provenByNow(known.get(key) ?? noStates);
    const seen = new Map(known.get(key));
    for (const file of keptFiles(manifest)) {
      const found = await stateOrFault(entry, file, {
        before: before.get(file.path),
        isAboutToBeRead: then === null,
        isOwn: own.has(key),
      });
      if (typeof found === 'string') return forget(key, found);
      seen.set(file.path, found);
    }
    known.set(key, seen);
    const stray = strayFile(entry);
    return stray === null ? null : forget(key, `${stray} was added`);
  };

  const forget = (key: ActionKey, fault: string): string => {
    known.delete(key);
    own.delete(key);
    return fault;
  };

  return {
    states: (key: ActionKey): FileStates => provenByNow(known.get(key) ?? noStates),
    fault: (entry: Entry) => faultOf(entry, null),
    change: faultOf,
    stored(key: ActionKey, states: FileStates): void {
      known.set(key, states);
      own.add(key);
    },
  };
}

interface Look {
  /** The file's state at the last look; undefined at the first. */
  readonly before: FileState | undefined;
  /** Whether a stage is about to read the file; false after it has read it. */
  readonly isAboutToBeRead: boolean;
  /** Whether this run hashed the file while it stored the entry. */
  readonly isOwn: boolean;
}

/** Returns the state of a file that is right, as far as is known, or what is wrong with it. */
async function stateOrFault(
  { dir }: Entry,
  file: ManifestFile,
  { before, isAboutToBeRead, isOwn }: Look,
): Promise<FileState | string> {
  const full = `${dir}/${file.path}`;
  let stat = statIfThere(full);
  if (!stat?.isFile()) return `${file.path} is missing`;
  if (before?.proof === 'full' && isSame(before, stat)) return before;
  if (!isAboutToBeRead && before !== undefined && isWritten(before, stat)) {
    // Some file systems give a file another inode number once it is opened, as it was before.
    const opened = statOpened(full);
    if (opened === null || isWritten(before, opened)) return `${file.path} was written to`;
    if (before.proof === 'full' && isSame(before, opened)) return before;
    stat = opened;
  }
  const isProven = before?.proof === 'after a tick' && isSame(before, stat);
  // A young file is hashed after the stage has read it in any case, so it need not be now.
  const mayWait = isProven || (isOwn && !isOld(stat) && (before?.proof ?? 'none') === 'none');
  if (isAboutToBeRead && mayWait) return fileState(stat, isProven ? 'after a tick' : 'none');
  const fault = await contentFault(dir, file, stat.size);
  if (fault !== null) return fault;
  if (isOld(stat)) return fileState(stat, 'full');
  return fileState(stat, isProven ? 'after a tick' : 'none');
}

/**
 * Returns every file of a source by its path below the root ('' if the source is a file). Links are
 * followed. Hidden files are not part of a source.
 */
function filesOfSource(root: string): ReadonlyMap<string, Stats> {
  const found = new Map<string, Stats>(),
    entered = new Set<number>();
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

/** Whether a source has the same files as before, each proven to have the same content. */
const haveSameFiles = (then: FileStates, now: ReadonlyMap<string, Stats>): boolean =>
  then.size === now.size &&
  [...then].every(([name, state]) => {
    const stat = now.get(name);
    return state.proof === 'full' && stat !== undefined && isSame(state, stat);
  });

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
    return haveSameFiles(then, now) ? null : digestFault(asset);
  };

  return {
    states: (uri: string): FileStates => known.get(uri) ?? noStates,
    async fault(asset: Asset): Promise<string | null> {
      const now = filesOfSource(asset.path),
        before = known.get(asset.uri);
      if (before !== undefined && haveSameFiles(before, now)) return null;
      const proof = [...now.values()].every(isOld) ? 'full' : 'none';
      const fault = await digestFault(asset);
      if (fault === null)
        known.set(
          asset.uri,
          new Map([...now].map(([name, stat]) => [name, fileState(stat, proof)])),
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

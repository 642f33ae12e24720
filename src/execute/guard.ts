/**
 * What a stage reads must be what its key says, before it reads and afterwards: inputs and sources lie open to its code and
 * to whoever else is about, and read-only modes do not bind root. A look at a file's inode, size and times tells whether it
 * was written to, as git's index has it, where they are so old that a write would have changed them; else its bytes are
 * hashed again.
 */
import type { Stats } from 'node:fs';
import { lstatSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Asset } from '../api.ts';
import { sha256 } from '../plan/sha256.ts';
import type { ActionKey } from '../plan/types.ts';
import { contentFault, strayFile, TICK_MS } from '../store/files.ts';
import type { Entry } from '../store/types.ts';

/** A source as it is now, by its URI; null: it is gone. */
export type Locate = (uri: string) => Promise<Asset | null>;

/** What one stage reads, as it was when the stage was about to start. */
export interface Reads {
  /** What of it is no longer as it was ("its input …"); null: nothing, so that what was read is what the stage's key says. */
  fault(): Promise<string | null>;
  /** A digest of every file's inode, size and times: the same in the next run, unless one was written to. */
  readonly state: string;
}

export interface Guard {
  /** What is wrong with a stored entry that is about to be read; null: nothing. @param fresh made by this run, which hashed it a moment ago */
  entryFault(entry: Entry, fresh: boolean): Promise<string | null>;
  /** Whether an entry was changed while a stage read it, and has not been looked at since. */
  isSuspect(key: ActionKey): boolean;
  /** What is wrong with a source that is about to be read, as a sentence; null: nothing. */
  assetFault(asset: Asset): Promise<string | null>;
  /** Call it after `entryFault` and `assetFault` have passed everything listed here. @param inputs each with its name */
  reads(
    inputs: readonly (readonly [name: string, entry: Entry])[],
    assets: readonly Asset[],
  ): Reads;
}

/** A file at a moment, and whether its content was hashed since and a later write would show. */
interface Look {
  readonly ino: number;
  readonly size: number;
  readonly mtime: number;
  readonly ctime: number;
  readonly sure: boolean;
}

const lookOf = ({ ino, size, mtimeMs, ctimeMs }: Stats, sure: boolean): Look => ({
  ino,
  size,
  mtime: mtimeMs,
  ctime: ctimeMs,
  sure,
});
const isOld = ({ mtimeMs, ctimeMs }: Stats): boolean =>
  Math.max(mtimeMs, ctimeMs) < Date.now() - TICK_MS;
/** Written over, or another file in its place. Where only ctime differs, its mode may have changed, or its times were set. */
const isWritten = (a: Look, b: Stats): boolean =>
  a.ino !== b.ino || a.size !== b.size || a.mtime !== b.mtimeMs;
const isSame = (a: Look, b: Stats): boolean => !isWritten(a, b) && a.ctime === b.ctimeMs;

/** By path. A map is never mutated, only replaced: a stage keeps the looks of the moment it started. */
type Looks = ReadonlyMap<string, Look>;
const none: Looks = new Map();

export function createGuard(locate?: Locate): Guard {
  const entries = new Map<ActionKey, Looks>();
  const assets = new Map<string, Looks>();
  const suspects = new Set<ActionKey>();

  /** @param then what was seen of the files before they were read; null: they are about to be */
  const look = async (entry: Entry, then: Looks | null, fresh: boolean): Promise<string | null> => {
    const { key, dir, manifest } = entry;
    const known = then ?? entries.get(key) ?? none,
      seen = new Map<string, Look>();
    for (const file of manifest.files) {
      const stat = lstatSync(`${dir}/${file.path}`, { throwIfNoEntry: false });
      if (!stat?.isFile()) return `${file.path} is missing`;
      const before = known.get(file.path);
      if (before?.sure && isSame(before, stat)) continue;
      if (then !== null && before !== undefined && isWritten(before, stat))
        return `${file.path} was written to`;
      const old = isOld(stat);
      // What was written a moment ago would have to be hashed after it was read all the same.
      if (old || !fresh) {
        const fault = await contentFault(dir, file, stat.size);
        if (fault !== null) return fault;
      }
      seen.set(file.path, lookOf(stat, old));
    }
    if (seen.size > 0) entries.set(key, new Map([...(entries.get(key) ?? none), ...seen]));
    const stray = strayFile(entry);
    return stray === null ? null : `${stray} was added`;
  };

  const entryFault = async (entry: Entry, fresh: boolean): Promise<string | null> => {
    const fault = await look(entry, null, fresh && !suspects.has(entry.key));
    if (fault === null) suspects.delete(entry.key);
    return fault;
  };

  const assetFault = async (asset: Asset): Promise<string | null> => {
    const { uri } = asset,
      now = walk(asset.path),
      known = assets.get(uri);
    if (known !== undefined && isUnchanged(known, now)) return null;
    const sure = [...now.values()].every(isOld);
    const fault = await sourceFault(asset);
    if (fault === null)
      assets.set(uri, new Map([...now].map(([name, stat]) => [name, lookOf(stat, sure)])));
    return fault;
  };

  const sourceFault = async ({ uri, digest }: Asset): Promise<string | null> => {
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

  const assetChange = async (asset: Asset, then: Looks): Promise<string | null> => {
    const now = walk(asset.path);
    const named = (name: string): string => (name === '' ? asset.uri : `${name} of ${asset.uri}`);
    for (const [name, look] of then) {
      const stat = now.get(name);
      if (stat === undefined) return `${named(name)} is gone`;
      if (isWritten(look, stat)) return `${named(name)} was written to`;
    }
    for (const name of now.keys()) if (!then.has(name)) return `${named(name)} was added`;
    return isUnchanged(then, now) ? null : sourceFault(asset);
  };

  return {
    entryFault,
    isSuspect: (key) => suspects.has(key),
    assetFault,
    reads(inputs, sources) {
      const held = inputs.map(
        ([name, entry]) => [name, entry, entries.get(entry.key) ?? none] as const,
      );
      const open = sources.map((asset) => [asset, assets.get(asset.uri) ?? none] as const);
      return {
        get state() {
          if (held.length === 0 && open.length === 0) return '';
          const lines = [
            ...held.map(([name, , looks]) => [name, looks] as const),
            ...open.map(([{ uri }, looks]) => [uri, looks] as const),
          ].flatMap(([of, looks]) =>
            [...looks].map(
              ([file, { ino, size, mtime, ctime }]) =>
                `${of}\n${file}\n${ino} ${size} ${mtime} ${ctime}`,
            ),
          );
          return sha256(lines.sort().join('\n'));
        },
        async fault() {
          for (const [name, entry, looks] of held) {
            const change = await look(entry, looks, false);
            if (change === null) continue;
            entries.delete(entry.key);
            suspects.add(entry.key); // whoever reads it next looks at its bytes
            return `its input "${name}" was changed after it was stored (${change})`;
          }
          for (const [asset, looks] of open) {
            const change = await assetChange(asset, looks);
            if (change === null) continue;
            assets.delete(asset.uri);
            return `a source was changed while it ran: ${change}`;
          }
          return null;
        },
      };
    },
  };
}

const isUnchanged = (then: Looks, now: ReadonlyMap<string, Stats>): boolean =>
  then.size === now.size &&
  [...then].every(([name, look]) => {
    const stat = now.get(name);
    return look.sure && stat !== undefined && isSame(look, stat);
  });

/** Every file of a source by its path below it ('' for a file itself); hidden ones are no part of one, links are followed. */
function walk(root: string): Map<string, Stats> {
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

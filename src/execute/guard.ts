/**
 * What a stage reads must be what its key says, before it reads and afterwards: inputs and sources lie open to its code and
 * to whoever else is about, and read-only modes do not bind root. A look at a file's inode, size and times tells whether it
 * was written to, as git's index has it, where they are so old that a write would have changed them; else its bytes are
 * hashed again.
 */
import { lstatSync, readdirSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import path from 'node:path';
import type { Asset } from '../api.ts';
import { sha256 } from '../plan/sha256.ts';
import type { ActionKey } from '../plan/types.ts';
import { fileFault, strayFile } from '../store/files.ts';
import type { Entry, ManifestFile } from '../store/types.ts';

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
  /** What is wrong with a source that is about to be read, as a sentence; null: nothing. */
  assetFault(asset: Asset): Promise<string | null>;
  /** After both of them, of each input by its name and of each source. */
  reads(
    inputs: readonly (readonly [name: string, entry: Entry])[],
    assets: readonly Asset[],
  ): Reads;
}

/** File systems stamp times in steps, of 10 ms at most on Linux: a file may change again within one unseen. */
const TICK_MS = 20;

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

type Looks = Map<string, Look>;

export function createGuard(locate?: Locate): Guard {
  const entries = new Map<ActionKey, Looks>();
  /** Changed while they were read, and not looked at since. */
  const suspects = new Set<ActionKey>();
  const assets = new Map<string, Looks>();

  const entryFault = async (entry: Entry, fresh: boolean): Promise<string | null> => {
    const { key, dir, manifest } = entry;
    const looks: Looks = entries.get(key) ?? new Map<string, Look>();
    entries.set(key, looks);
    for (const file of manifest.files) {
      const stat = lstatSync(`${dir}/${file.path}`, { throwIfNoEntry: false });
      if (!stat) return `${file.path} is missing`;
      const known = looks.get(file.path);
      if (known?.sure && isSame(known, stat)) continue;
      const old = isOld(stat);
      // What was written a moment ago would have to be hashed after it was read all the same.
      if (old || !fresh || suspects.has(key)) {
        const fault = await fileFault(dir, file);
        if (fault !== null) return fault;
      }
      looks.set(file.path, lookOf(stat, old));
    }
    const fault = added(entry);
    if (fault === null) suspects.delete(key);
    return fault;
  };

  const assetFault = async (asset: Asset): Promise<string | null> => {
    const { uri } = asset,
      now = walk(asset.path),
      known = assets.get(uri);
    if (known !== undefined && isUnchanged(known, now)) return null;
    const sure = [...now.values()].every(isOld);
    const fault = await contentFault(asset);
    if (fault === null)
      assets.set(uri, new Map([...now].map(([name, stat]) => [name, lookOf(stat, sure)])));
    return fault;
  };

  const contentFault = async ({ uri, digest }: Asset): Promise<string | null> => {
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

  /** The files as they were at a moment against what they are. */
  const entryChange = async (entry: Entry, then: Looks): Promise<string | null> => {
    const { key, dir, manifest } = entry;
    for (const file of manifest.files) {
      const before = then.get(file.path),
        stat = lstatSync(`${dir}/${file.path}`, { throwIfNoEntry: false });
      if (!stat) return `${file.path} is missing`;
      if (before === undefined || isWritten(before, stat)) return `${file.path} was written to`;
      if (before.sure && before.ctime === stat.ctimeMs) continue;
      const old = isOld(stat),
        fault = await fileFault(dir, file);
      if (fault !== null) return fault;
      if (old) entries.get(key)?.set(file.path, lookOf(stat, true));
    }
    return added(entry);
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
    return isUnchanged(then, now) ? null : contentFault(asset);
  };

  return {
    entryFault,
    assetFault,
    reads(inputs, sources) {
      // Copies: a later reader's looks must not stand for this one's.
      const held = inputs.map(
        ([name, entry]) => [name, entry, new Map(entries.get(entry.key) ?? [])] as const,
      );
      const open = sources.map((asset) => [asset, assets.get(asset.uri) ?? new Map()] as const);
      return {
        get state() {
          const lines = [
            ...held.map(([name, , looks]) => [name, [...looks]] as const),
            ...open.map(([{ uri }, looks]) => [uri, [...looks]] as const),
          ].flatMap(([of, looks]) =>
            looks.map(([file, { ino, size, mtime, ctime }]) =>
              JSON.stringify([of, file, ino, size, mtime, ctime]),
            ),
          );
          return lines.length === 0 ? '' : sha256(lines.sort().join('\n'));
        },
        async fault() {
          for (const [name, entry, looks] of held) {
            const change = await entryChange(entry, looks);
            if (change === null) continue;
            entries.delete(entry.key); // whoever reads it next looks at its bytes
            suspects.add(entry.key);
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

const added = ({ dir, manifest }: Entry): string | null => {
  const stray = strayFile(dir, manifest.files as readonly ManifestFile[]);
  return stray === null ? null : `${stray} was added`;
};

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

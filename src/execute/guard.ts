/**
 * Guards what a stage reads: before and after the stage reads it, it must be what the stage's key
 * says. Inputs and sources can be written to by the stage's code and by everyone else on the
 * machine, and read-only modes do not bind root. Where a look at a file cannot tell whether it was
 * written to, its bytes are hashed again.
 */
import { lstatSync } from 'node:fs';
import type { Asset, OutputFile } from '../api.ts';
import { sha256 } from '../plan/sha256.ts';
import type { ActionKey } from '../plan/types.ts';
import { contentFault, strayFile } from '../store/files.ts';
import type { Entry } from '../store/types.ts';
import type { Look, Looks } from './looks.ts';
import {
  filesOfSource,
  isOld,
  isSame,
  isUnchanged,
  isWritten,
  lookOf,
  looksAtOutputs,
  noLooks,
  sureByNow,
} from './looks.ts';

/** Returns a source as it is now, by its URI; null if it is gone. */
export type Locate = (uri: string) => Promise<Asset | null>;

/** The files that one stage reads, as they were when the stage was about to start. */
export interface Reads {
  /**
   * Returns what has changed since then ("its input …"), or null if the stage read what its key
   * says.
   */
  fault(): Promise<string | null>;
  /**
   * A digest of every file's inode, size and times, or '' for a stage that reads nothing. It stays
   * the same in the next run, unless a file has been written to.
   */
  readonly digest: string;
}

export interface Guard {
  /**
   * Returns what is wrong with a stored entry that is about to be read, or null.
   * @param fresh this run made the entry, and hashed its files a moment ago
   */
  entryFault(entry: Entry, fresh: boolean): Promise<string | null>;
  /** Whether an entry was changed while a stage read it, and has not been checked since. */
  isSuspect(key: ActionKey): boolean;
  /** Returns what is wrong with a source that is about to be read, as a sentence, or null. */
  assetFault(asset: Asset): Promise<string | null>;
  /**
   * Starts to watch what a stage reads, all of which has passed `entryFault` and `assetFault`.
   * @param inputs each input's entry with its name
   */
  reads(
    inputs: readonly (readonly [name: string, entry: Entry])[],
    assets: readonly Asset[],
  ): Reads;
  /** Looks at outputs that have just been hashed; call it before they are published. */
  hashed(dir: string, files: readonly OutputFile[]): Looks;
  /** Uses the looks of `hashed` as those of the entry that these outputs have become. */
  stored(key: ActionKey, hashed: Looks): void;
}

export function createGuard(locate?: Locate): Guard {
  const entries = createEntryGuard();
  const assets = createAssetGuard(locate);
  return {
    entryFault: (entry, fresh) => entries.fault(entry, fresh),
    isSuspect: entries.isSuspect,
    assetFault: (asset) => assets.fault(asset),
    hashed: looksAtOutputs,
    stored: (key, hashed) => entries.stored(key, hashed),
    reads(inputs, sources) {
      const held = inputs.map(([name, entry]) => {
        const looks = entries.looks(entry.key);
        return { name, entry, looks };
      });
      const open = sources.map((asset) => ({ asset, looks: assets.looks(asset.uri) }));
      return {
        get digest() {
          return digestOfLooks([
            ...held.map(({ name, looks }) => [name, looks] as const),
            ...open.map(({ asset, looks }) => [asset.uri, looks] as const),
          ]);
        },
        async fault() {
          for (const { name, entry, looks } of held) {
            const change = await entries.change(entry, looks);
            if (change !== null)
              return `its input "${name}" was changed after it was stored (${change})`;
          }
          for (const { asset, looks } of open) {
            const change = await assets.change(asset, looks);
            if (change !== null) return `a source was changed while it ran: ${change}`;
          }
          return null;
        },
      };
    },
  };
}

function digestOfLooks(read: readonly (readonly [what: string, looks: Looks])[]): string {
  if (read.length === 0) return '';
  const lines = read.flatMap(([what, looks]) =>
    [...looks].map(
      ([file, { ino, size, mtime, ctime }]) => `${what}\n${file}\n${ino} ${size} ${mtime} ${ctime}`,
    ),
  );
  return sha256(lines.sort().join('\n'));
}

function createEntryGuard() {
  const known = new Map<ActionKey, Looks>();
  const suspects = new Set<ActionKey>();

  /**
   * Returns what is wrong with an entry, or null if nothing is wrong.
   * @param then the looks from before the entry was read; null if it is about to be read
   */
  const check = async (
    entry: Entry,
    then: Looks | null,
    fresh: boolean,
  ): Promise<string | null> => {
    const { key, dir, manifest } = entry;
    const before = then ?? sureByNow(known.get(key) ?? noLooks),
      seen = new Map<string, Look>();
    for (const file of manifest.files) {
      const stat = lstatSync(`${dir}/${file.path}`, { throwIfNoEntry: false });
      if (!stat?.isFile()) return `${file.path} is missing`;
      const look = before.get(file.path);
      if (look?.sure && isSame(look, stat)) continue;
      if (then !== null && look !== undefined && isWritten(look, stat))
        return `${file.path} was written to`;
      const hashed = look?.hashed === true && isSame(look, stat);
      const old = isOld(stat);
      // A young file has to be hashed after the stage has read it in any case.
      const isLeftForLater = then === null && (hashed || (fresh && !old && !look?.hashed));
      if (!isLeftForLater) {
        const fault = await contentFault(dir, file, stat.size);
        if (fault !== null) return fault;
      }
      seen.set(file.path, lookOf(stat, { sure: old && !isLeftForLater, hashed }));
    }
    if (seen.size > 0) known.set(key, new Map([...(known.get(key) ?? noLooks), ...seen]));
    const stray = strayFile(entry);
    return stray === null ? null : `${stray} was added`;
  };

  return {
    looks: (key: ActionKey): Looks => sureByNow(known.get(key) ?? noLooks),
    isSuspect: (key: ActionKey): boolean => suspects.has(key),
    async fault(entry: Entry, fresh: boolean): Promise<string | null> {
      const fault = await check(entry, null, fresh && !suspects.has(entry.key));
      if (fault === null) suspects.delete(entry.key);
      return fault;
    },
    /**
     * Returns what has changed since `then`. If something has, the next reader hashes the entry.
     */
    async change(entry: Entry, then: Looks): Promise<string | null> {
      const change = await check(entry, then, false);
      if (change !== null) {
        known.delete(entry.key);
        suspects.add(entry.key);
      }
      return change;
    },
    stored(key: ActionKey, hashed: Looks): void {
      suspects.delete(key);
      known.set(key, hashed);
    },
  };
}

function createAssetGuard(locate: Locate | undefined) {
  const known = new Map<string, Looks>();

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

  const changeSince = async (asset: Asset, then: Looks): Promise<string | null> => {
    const now = filesOfSource(asset.path);
    const named = (name: string): string => (name === '' ? asset.uri : `${name} of ${asset.uri}`);
    for (const [name, look] of then) {
      const stat = now.get(name);
      if (stat === undefined) return `${named(name)} is gone`;
      if (isWritten(look, stat)) return `${named(name)} was written to`;
    }
    for (const name of now.keys()) if (!then.has(name)) return `${named(name)} was added`;
    return isUnchanged(then, now) ? null : digestFault(asset);
  };

  return {
    looks: (uri: string): Looks => known.get(uri) ?? noLooks,
    async fault(asset: Asset): Promise<string | null> {
      const now = filesOfSource(asset.path),
        before = known.get(asset.uri);
      if (before !== undefined && isUnchanged(before, now)) return null;
      const sure = [...now.values()].every(isOld);
      const fault = await digestFault(asset);
      if (fault === null)
        known.set(
          asset.uri,
          new Map([...now].map(([name, stat]) => [name, lookOf(stat, { sure })])),
        );
      return fault;
    },
    async change(asset: Asset, then: Looks): Promise<string | null> {
      const change = await changeSince(asset, then);
      if (change !== null) known.delete(asset.uri);
      return change;
    },
  };
}

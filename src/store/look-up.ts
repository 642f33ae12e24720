/**
 * Looks an entry up: reads its manifest, and checks the sizes of its files and whether any file
 * changed since it was stored. A network file system caches names and attributes, so that a folder
 * that another host has just renamed into place may seem absent, or lack files, for a while.
 */
import { closeSync, lstatSync, readdirSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../base/system-error.ts';
import type { ActionKey } from '../plan/types.ts';
import { diskFault } from './faults.ts';
import { sha256Sync, statIfThere } from './files.ts';
import {
  type Entry,
  keptFiles,
  MANIFEST_FILE,
  type ManifestHead,
  parseManifest,
} from './manifest.ts';
import type { ManifestIndex } from './manifest-index.ts';
import { isUnreadable, openRegular, readRegularText, withheldFault } from './regular.ts';

export type LookUp =
  | { readonly state: 'hit'; readonly entry: Entry }
  | { readonly state: 'absent' }
  | { readonly state: 'damaged'; readonly why: string };

type NoEntry = Exclude<LookUp, { readonly state: 'hit' }>;

/**
 * Looks an entry up. Hashes its files only if one of them is younger than the manifest. Throws
 * `UserFault` if the entry belongs to another user who lets no one else read it.
 * @param dir the entry's folder
 * @param index the manifests that need not be read again; null to read every manifest
 */
export function lookUpEntry(dir: string, key: ActionKey, index: ManifestIndex | null): LookUp {
  const found = lookUpManifest(dir, key, index);
  if ('state' in found) return found;
  const { head, written } = found;
  let youngest = written;
  for (const { path: name, size } of keptFiles(head)) {
    const stat = statIfThere(`${dir}/${name}`);
    if (!stat?.isFile()) return { state: 'damaged', why: `${name} is missing` };
    if (stat.size !== size)
      return { state: 'damaged', why: `${name} has ${stat.size} bytes, not ${size}` };
    youngest = Math.max(youngest, stat.mtimeMs);
  }
  const entry: Entry = { key, dir, manifest: head };
  // The manifest is written last, so if a file is younger, someone else has touched it since.
  return youngest > written && !isUnchanged(entry, youngest)
    ? { state: 'damaged', why: 'a file was changed after it was stored' }
    : { state: 'hit', entry };
}

/**
 * Returns the head of an entry's manifest, and when the file was `written`, in ms since 1970. If
 * the entry is absent or its manifest is damaged, returns that, as `lookUpEntry` does.
 */
function lookUpManifest(
  dir: string,
  key: ActionKey,
  index: ManifestIndex | null,
): NoEntry | { readonly head: ManifestHead; readonly written: number } {
  const file = `${dir}/${MANIFEST_FILE}`;
  try {
    const stat = lstatSync(file, { throwIfNoEntry: false });
    if (!stat)
      return lstatSync(dir, { throwIfNoEntry: false })
        ? { state: 'damaged', why: 'it has no manifest' }
        : { state: 'absent' };
    const written = stat.mtimeMs;
    // The times of a link say nothing about the manifest that it points to.
    const usedIndex = stat.isFile() ? index : null;
    const known = usedIndex?.get(key, stat);
    if (known) return { head: known, written };
    const parsed = parseManifest(readRegularText(file), key);
    if ('fault' in parsed) return { state: 'damaged', why: parsed.fault };
    usedIndex?.note(key, stat, parsed.manifest);
    return { head: parsed.manifest, written };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { state: 'absent' }; // removed between the two calls
    // An error such as too many open files is not the entry's fault.
    if (code !== 'ENOTDIR' && !isUnreadable(error)) throw diskFault(error, dir);
    const withheld = withheldFault(file, path.dirname(path.dirname(dir)));
    if (withheld !== null) throw withheld;
    return { state: 'damaged', why: `its manifest can't be read (${String(code)})` };
  }
}

/**
 * Hashes an entry's files, one of which is younger than the manifest, as after a copy. Returns
 * whether all have the digests in the manifest. If so, sets the manifest's time to just after that
 * of the youngest file, so that the files need not be hashed again.
 * @param youngest the time of the youngest file, in ms since 1970
 */
function isUnchanged({ dir, manifest }: Entry, youngest: number): boolean {
  const unchanged = keptFiles(manifest).every((file) => {
    try {
      return sha256Sync(path.join(dir, file.path)) === file.sha256;
    } catch (error) {
      if (isUnreadable(error)) return false;
      throw error;
    }
  });
  if (!unchanged) return false;
  try {
    utimesSync(path.join(dir, MANIFEST_FILE), new Date(), new Date(Math.ceil(youngest) + 1));
  } catch (error) {
    if (!hasCode(error, 'EACCES', 'EPERM', 'EROFS')) throw error;
  }
  return true;
}

/** The pauses between looks, in milliseconds; about 3 s together. */
export const PAUSES: readonly number[] = [20, 50, 100, 200, 400, 800, 1600];

/**
 * Looks an entry up until it is whole or the pauses are over. Returns what the last look found.
 * @param refresh makes the file system ask again, and returns whether a listing shows the entry's
 *   name; if it does, the pauses are PAUSES
 * @param pauses the pauses if no listing shows the name; if empty, there is one more look, after
 *   one refresh
 */
export async function lookUntilVisible(
  look: () => LookUp,
  refresh: () => boolean,
  pauses: readonly number[],
  wait: (ms: number) => Promise<unknown> = sleep,
): Promise<LookUp> {
  let found = look();
  for (let done = 0; found.state !== 'hit'; done++) {
    const allowed = refresh() ? PAUSES : pauses;
    found = look();
    const pause = allowed[done];
    if (found.state === 'hit' || pause === undefined) break;
    await wait(pause);
  }
  return found;
}

/** Returns the names in a folder; null if it can't be listed. */
function namesIn(dir: string): readonly string[] | null {
  try {
    return readdirSync(dir);
  } catch {
    return null; // the next look-up tells what is wrong
  }
}

/**
 * Makes a network file system ask its server about an entry, by listing the folders from the
 * store's root down and opening the manifest. Returns whether a listing shows the entry's name or,
 * if the folder above the entry can't be listed, the name of that folder. A listing comes anew from
 * the server, while the absence of a single name may be cached.
 * @param dir the entry's folder
 */
export function refreshEntry(dir: string): boolean {
  const shard = path.dirname(dir);
  const shards = namesIn(path.dirname(shard)),
    entries = namesIn(shard);
  namesIn(dir);
  try {
    closeSync(openRegular(path.join(dir, MANIFEST_FILE)));
  } catch {
    // The next look-up tells what is wrong.
  }
  return entries === null
    ? shards?.includes(path.basename(shard)) === true
    : entries.includes(path.basename(dir));
}

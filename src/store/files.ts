/** The files of an output folder: lists, sizes and digests. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  type Stats,
} from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { sha256 } from '../base/sha256.ts';
import { hasCode } from '../base/system-error.ts';
import { type Entry, MANIFEST_FILE, type ManifestFile } from './manifest.ts';
import { isUnreadable, openRegular, READ_AT_ONCE, readRegular } from './regular.ts';

/**
 * A file's time stamp may be earlier than its change by up to this many ms: Linux stamps files by a
 * clock that goes in steps of up to 10 ms.
 */
export const TICK_MS = 20;

/**
 * A time stamp that the store sets is set back by this many ms, so that on every file system any
 * later change gets a later stamp.
 */
export const SETTLED_MS = 2000;

/** In bytes. Smaller files are read whole, larger ones in chunks of this size. */
const SMALL = 1 << 20;

/**
 * Returns a regular file's SHA-256 digest in hex. Throws like `openRegular`.
 * @param size the file's size in bytes
 */
export async function sha256File(file: string, size: number): Promise<string> {
  if (size <= SMALL) return sha256(readRegular(file));
  const hash = createHash('sha256');
  const bytes = createReadStream(file, { fd: openRegular(file), highWaterMark: SMALL });
  for await (const chunk of bytes) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/**
 * Returns a file's stats; undefined if the file is missing or can't be reached, as when a file has
 * taken the place of its folder.
 */
export function statIfThere(file: string): Stats | undefined {
  try {
    return lstatSync(file, { throwIfNoEntry: false });
  } catch (error) {
    if (hasCode(error, 'ENOTDIR') || isUnreadable(error)) return undefined;
    throw error;
  }
}

/** Returns what is wrong with a stored file, or null if nothing is. */
export async function fileFault(dir: string, file: ManifestFile): Promise<string | null> {
  const stat = statIfThere(path.join(dir, file.path));
  return stat?.isFile() ? contentFault(dir, file, stat.size) : `${file.path} is missing`;
}

/** Like `fileFault`, for a file that exists. @param found the size that it has now, in bytes */
export async function contentFault(
  dir: string,
  { path: name, size, sha256: digest }: ManifestFile,
  found: number,
): Promise<string | null> {
  if (found !== size) return `${name} has ${found} bytes, not ${size}`;
  try {
    return (await sha256File(`${dir}/${name}`, size)) === digest ? null : `${name} was changed`;
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    return `${name} can't be read (${String((error as NodeJS.ErrnoException).code)})`;
  }
}

/** Opens a file and returns its stats; null if it is no regular file or can't be opened. */
export function statOpened(file: string): Stats | null {
  let handle: number | undefined;
  try {
    handle = openSync(file, READ_AT_ONCE | constants.O_NOFOLLOW);
    const stat = fstatSync(handle);
    return stat.isFile() ? stat : null;
  } catch {
    return null;
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

/** Like `sha256File`, but blocks the process: only for files that are seldom hashed. */
export function sha256Sync(file: string): string {
  const hash = createHash('sha256'),
    buffer = Buffer.allocUnsafe(SMALL),
    handle = openRegular(file);
  try {
    for (let n = readSync(handle, buffer); n > 0; n = readSync(handle, buffer))
      hash.update(buffer.subarray(0, n));
  } finally {
    closeSync(handle);
  }
  return hash.digest('hex');
}

/**
 * Returns the files under `dir`, sorted by path (relative, with `/`). Throws `UserFault` if there
 * is a link, a socket or the like.
 */
export function listFiles(dir: string): { readonly path: string; readonly size: number }[] {
  const found: { readonly path: string; readonly size: number }[] = [];
  /** Adds the files of a folder to `found`. @param prefix begins their paths: '' or `a/b/` */
  const walk = (folder: string, prefix: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const relative = prefix + entry.name,
        full = `${folder}/${entry.name}`;
      if (entry.isDirectory()) walk(full, `${relative}/`);
      else if (entry.isFile()) found.push({ path: relative, size: lstatSync(full).size });
      else
        throw new UserFault(
          `${full} is neither a file nor a folder`,
          'a stage may write files and folders only',
        );
    }
  };
  walk(dir, '');
  return found.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/** Returns all folders on the way to files: `a` and `a/b` for `a/b/c`. */
export function innerFolders(names: readonly string[]): ReadonlySet<string> {
  const folders = new Set<string>();
  for (const name of names)
    for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1))
      folders.add(name.slice(0, at));
  return folders;
}

/**
 * Returns the path, relative to an entry's folder, of a file there that is not part of the entry;
 * null if there is none. Hidden files are ignored, because file managers and network file systems
 * leave them. The entry's folders are listed only if one of them changed after the entry was made.
 */
export function strayFile({ dir, manifest: { files, created } }: Entry): string | null {
  const made = Date.parse(created) - TICK_MS;
  const mayHaveChanged = (folder: string): boolean =>
    (statIfThere(`${dir}/${folder}`)?.mtimeMs ?? Infinity) >= made;
  const names = files.map(({ path: name }) => name);
  if (!['', ...innerFolders(names)].some(mayHaveChanged)) return null;
  const own = new Set([MANIFEST_FILE, ...names]);
  /** Returns the first stray file of a folder. @param prefix begins its path: '' or `a/b/` */
  const findStray = (folder: string, prefix: string): string | null => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const name = prefix + entry.name;
      if (entry.name.startsWith('.') || own.has(name)) continue;
      if (!entry.isDirectory()) return name;
      const stray = findStray(`${folder}/${entry.name}`, `${name}/`);
      if (stray !== null) return stray;
    }
    return null;
  };
  return findStray(dir, '');
}

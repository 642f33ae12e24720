/**
 * Computes digests of files and folders. They are remembered by each file's size and times, so that
 * a plan need not read a 90 MB model again only to find that nothing has changed.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import {
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, UserFault } from '../../../src/api.ts';
import { sha256 } from '../../../src/base/sha256.ts';
import { hasCode, isMissing, orIfMissing } from '../../../src/base/system-error.ts';
import { isRecord } from '../../../src/base/untrusted/json.ts';
import { cacheFolder, makeCacheFolder, ownNames } from '../../../src/base/untrusted/paths.ts';

/** A file's [size, mtime, ctime, inode, sha256]; times are in nanoseconds, as text. */
type Known = readonly [number, string, string, string, string];
type Memo = Map<string, Known>;

/**
 * The age (ms) from which a file's time stamp is trusted. A younger file may still change without a
 * new time stamp.
 */
const SETTLED_MS = 100;

export const sha256OfFile = async (path: string): Promise<string> =>
  (await digestOfFile(path, 'sha256')).toString('hex');

/** Returns the digest of a file. @param prefix hashed before the file's bytes */
export async function digestOfFile(path: string, algorithm: string, prefix = ''): Promise<Buffer> {
  const hash = createHash(algorithm).update(prefix);
  for await (const chunk of createReadStream(path, {
    highWaterMark: 1 << 20,
  }) as AsyncIterable<Uint8Array>)
    hash.update(chunk);
  return hash.digest();
}

/**
 * Returns the sha256 (hex) of each file, by its name relative to `root`.
 * @param names the files' paths relative to `root`; '' for `root` itself, if it is a file
 * @param cacheDir the folder in which digests are remembered
 * @throws UserFault if one is no file, such as a device or a named pipe
 */
export async function fileDigests(
  root: string,
  names: readonly string[],
  cacheDir: string,
): Promise<Map<string, string>> {
  const memoFile = join(cacheFolder(cacheDir, 'digests'), `${sha256(root).slice(0, 32)}.json`);
  const memo = await readMemo(memoFile, root);
  const digests = new Map<string, string>();
  let learnt = false;
  for (const name of names) {
    const path = name === '' ? root : join(root, name);
    const stats = await stat(path, { bigint: true });
    // Reading a named pipe would wait for a writer, and reading a device might never end.
    if (!stats.isFile())
      throw new UserFault(`${path} is neither a file nor a folder, and can't be read.`);
    const seen = [
      Number(stats.size),
      String(stats.mtimeNs),
      String(stats.ctimeNs),
      String(stats.ino),
    ] as const;
    const known = memo.get(name);
    if (known !== undefined && seen.every((value, i) => known[i] === value)) {
      digests.set(name, known[4]);
      continue;
    }
    const digest = await sha256OfFile(path);
    digests.set(name, digest);
    learnt = true;
    if (Date.now() - Number(stats.ctimeNs / 1_000_000n) > SETTLED_MS)
      memo.set(name, [...seen, digest]);
    else memo.delete(name);
  }
  if (learnt) {
    makeCacheFolder(cacheDir, 'digests');
    const files = Object.fromEntries(memo);
    await writeAtomically(memoFile, JSON.stringify({ path: root, files }));
  }
  return digests;
}

/** Returns what is remembered of files below `root`: nothing if the memo is missing or damaged. */
async function readMemo(file: string, root: string): Promise<Memo> {
  const { path, files } = (await readRecord(file)) ?? {};
  return path === root && isRecord(files)
    ? new Map(Object.entries(files as { readonly [name: string]: Known }))
    : new Map();
}

/**
 * Returns, for a file, the digest of its bytes as `sha256sum` prints it; for a folder, a digest of
 * its files' names and digests.
 * @param names the folder's files; null for a file
 */
export async function contentDigest(
  root: string,
  names: readonly string[] | null,
  cacheDir: string,
): Promise<Digest> {
  const digests = await fileDigests(root, names ?? [''], cacheDir);
  return names === null
    ? (`sha256:${[...digests.values()].join('')}` as Digest)
    : digestOfDigests(digests);
}

/** Returns a folder's digest. @param digests the sha256 of each of its files, by name */
export function digestOfDigests(digests: ReadonlyMap<string, string>): Digest {
  const listing = [...digests].sort(([a], [b]) => (a < b ? -1 : 1));
  return `sha256:${sha256(JSON.stringify(['dosimeter.folder/1', listing]))}` as Digest;
}

/**
 * Returns every file below a folder, sorted, as paths relative to the folder, with `/`. Hidden
 * files are left out, links are followed, and no folder is entered twice.
 */
export async function filesBelow(root: string): Promise<string[]> {
  const entered = new Set<string>();
  /** Returns the files below `dir`. @param prefix begins their names: '' or `a/b/` */
  const walk = async (dir: string, prefix: string): Promise<string[]> => {
    const real = await realpath(dir);
    if (entered.has(real)) return [];
    entered.add(real);
    const found: string[] = [];
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      const path = join(dir, entry.name),
        name = `${prefix}${entry.name}`;
      // A link that leads nowhere counts as a file.
      const folder = entry.isSymbolicLink()
        ? statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
        : entry.isDirectory();
      if (folder) found.push(...(await walk(path, `${name}/`)));
      else found.push(name);
    }
    return found;
  };
  return (await walk(root, '')).sort();
}

/** The age (ms) at which the temporary folders of killed fetches are removed. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;

/** Writes a file so that readers see either the old content or the new, never a part. */
export async function writeAtomically(path: string, content: string): Promise<void> {
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  await writeFile(temporary, content);
  await rename(temporary, path);
}

/**
 * Calls `work` with a new folder on the cache's file system, so that its content can be renamed
 * into place, and then removes the folder. Returns what `work` returns. Throws `UserFault` if the
 * cache can't be written.
 */
export async function withTemporaryFolder<T>(
  cacheDir: string,
  work: (dir: string) => Promise<T>,
): Promise<T> {
  const dir = join(cacheDir, 'tmp', `${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    makeCacheFolder(cacheDir, 'tmp');
    await mkdir(dir);
  } catch (error) {
    if (error instanceof UserFault) throw error;
    throw new UserFault(
      `The download cache can't be written: ${(error as Error).message}`,
      'Set DOSIMETER_CACHE to a folder that you may write to.',
    );
  }
  try {
    await removeAbandoned(cacheDir);
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function removeAbandoned(cacheDir: string): Promise<void> {
  for (const name of ownNames(cacheDir, 'tmp')) {
    const path = join(cacheDir, 'tmp', name);
    try {
      if (Date.now() - (await lstat(path)).mtimeMs > ABANDONED_MS)
        await rm(path, { recursive: true, force: true });
    } catch (error) {
      // another process has removed it
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }
}

/** Returns the text of a file; null if there is no such file, or a folder in its place. */
export async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error) || hasCode(error, 'EISDIR')) return null;
    throw error;
  }
}

/** Returns the object in a JSON file; null if the file is missing or holds no JSON object. */
export async function readRecord(
  path: string,
): Promise<{ readonly [name: string]: unknown } | null> {
  const text = await readText(path);
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Whether there is a file or folder at a path; for a link, whether there is one where it leads. */
export const exists = (path: string): boolean =>
  orIfMissing(false, () => statSync(path, { throwIfNoEntry: false }) !== undefined);

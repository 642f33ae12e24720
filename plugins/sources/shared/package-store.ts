/**
 * Unpacked packages in the download cache: `<cache>/<registry>/<name>/<version>/{entry.json,
 * files-…/, pin.json}`. `entry.json` is written last and by rename. It names the folder `files-…`
 * and every file in it, so that an incomplete or damaged entry is noticed. A folder that a reader
 * may be using is never moved or rewritten; another fetch makes another folder.
 */
import { randomBytes } from 'node:crypto';
import { lstatSync, readdirSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Digest, type JsonObject, UserFault } from '../../../src/api.ts';
import { hasCode, orIfMissing } from '../../../src/base/system-error.ts';
import { isRecord } from '../../../src/base/untrusted/json.ts';
import {
  cacheFolder,
  fileInside,
  makeCacheFolder,
  nameFault,
} from '../../../src/base/untrusted/paths.ts';
import { readRecord, sha256OfFile, withTemporaryFolder, writeAtomically } from './digest.ts';

export interface PackageEntry {
  /** The folder of the unpacked files. */
  readonly dir: string;
  /** `sha256:…` of the archive that the files came from. */
  readonly archive: Digest;
  /** Name, version, integrity: what a paper would cite. */
  readonly facts: JsonObject;
}

/** [name, size, mtime, ctime, sha256]. Times are in milliseconds. */
type FileRecord = readonly [string, number, number, number, string];
interface Manifest {
  readonly format: 1;
  readonly folder: string;
  readonly archive: Digest;
  readonly facts: JsonObject;
  readonly files: readonly FileRecord[];
}

export interface CachedPackage {
  readonly cacheDir: string;
  readonly registry: 'npm' | 'pypi';
  readonly name: string;
}
interface PackageKey extends CachedPackage {
  readonly version: string;
}

/** Returns a package's folders below the cache. They are checked, as an index may give the name. */
const packageParts = ({ registry, name }: CachedPackage): readonly string[] => [
  registry,
  fileInside('', name.replaceAll('/', '+'), 'The package'),
];
const entryParts = (key: PackageKey): readonly string[] => [
  ...packageParts(key),
  fileInside('', key.version, `A version of ${key.name}`),
];

/** Returns a package's entry; null if it is missing, or damaged, which is logged. */
export async function findPackage(
  key: PackageKey,
  log: (message: string) => void,
): Promise<PackageEntry | null> {
  const found = await readEntry(key);
  if (found === null || 'dir' in found) return found;
  log(
    `${key.registry}:${key.name} ${key.version} in the download cache is damaged ` +
      `(${found.damage}); it is fetched again`,
  );
  return null;
}

/** Returns a package's entry, or what is damaged in it; null if there is no entry. */
async function readEntry(
  key: PackageKey,
): Promise<PackageEntry | { readonly damage: string } | null> {
  const root = cacheFolder(key.cacheDir, ...entryParts(key)),
    file = join(root, 'entry.json');
  let manifest: Manifest;
  try {
    const read: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (!isManifest(read)) return { damage: 'entry.json has another form' };
    manifest = read;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    if (error instanceof SyntaxError) return { damage: 'entry.json is cut' };
    throw error;
  }
  const dir = join(root, manifest.folder);
  const files = await checkFiles(dir, manifest.files);
  if (typeof files === 'string') return { damage: files };
  // In a cache that was copied, files have other times than recorded. The new times are recorded,
  // so that the content is read only once more.
  if (files !== manifest.files) await writeAtomically(file, JSON.stringify({ ...manifest, files }));
  return { dir, archive: manifest.archive, facts: manifest.facts };
}

const FOLDER = /^files-[0-9a-f]+$/;

function isManifest(value: unknown): value is Manifest {
  if (!isRecord(value)) return false;
  const { format, folder, archive, facts, files } = value;
  return (
    format === 1 &&
    typeof folder === 'string' &&
    FOLDER.test(folder) &&
    typeof archive === 'string' &&
    isRecord(facts) &&
    Array.isArray(files) &&
    files.every((file) => Array.isArray(file) && file.length === 5 && nameFault(file[0]) === null)
  );
}

/**
 * Compares the sizes and times of all files with their records, and the content of files whose
 * times have changed. Returns what is wrong as text. If nothing is, returns the records with the
 * files' present times, which is `records` itself if no time has changed. Sizes and times are read
 * synchronously, because there are thousands of small files.
 */
async function checkFiles(
  dir: string,
  records: readonly FileRecord[],
): Promise<string | readonly FileRecord[]> {
  const present = listAll(dir);
  if (present === null) return 'its folder is gone';
  const expected = new Set(records.map(([name]) => name));
  for (const [name] of records)
    for (
      let parent = dirname(name);
      parent !== '.' && !expected.has(parent);
      parent = dirname(parent)
    )
      expected.add(parent);
  const extra = present.find((name) => !expected.has(name));
  if (extra !== undefined) return `${extra} was added`;
  const changed = new Map<number, FileRecord>();
  for (const [i, [name, size, mtime, ctime, digest]] of records.entries()) {
    const path = join(dir, name),
      stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined || !stats.isFile()) return `${name} is missing`;
    if (stats.size !== size) return `${name} has ${stats.size} bytes, not ${size}`;
    if (stats.mtimeMs === mtime && stats.ctimeMs === ctime) continue;
    if ((await sha256OfFile(path)) !== digest) return `${name} has other content`;
    changed.set(i, [name, size, stats.mtimeMs, stats.ctimeMs, digest]);
  }
  return changed.size === 0 ? records : records.map((record, i) => changed.get(i) ?? record);
}

/** Returns the paths of all files and folders below a folder; null if the folder itself is gone. */
const listAll = (dir: string): string[] | null =>
  orIfMissing(null, () => readdirSync(dir, { recursive: true }) as string[])?.map((name) =>
    name.replaceAll('\\', '/'),
  ) ?? null;

export interface Fetched extends Omit<PackageEntry, 'dir'> {
  readonly version: string;
}

const inFlight = new Map<string, Promise<PackageEntry>>();

/**
 * Fetches a package into the cache. The same package may be fetched elsewhere at the same moment:
 * in this process, the fetch under way is shared; another process's result is taken if it was
 * faster.
 * @param asked the version as the spec writes it, or ''; the version that it resolves to is
 *   remembered
 * @param fetch downloads into `download` and unpacks into `files`, which are both empty
 */
export function fetchPackage(
  key: CachedPackage,
  asked: string,
  fetch: (download: string, files: string) => Promise<Fetched>,
): Promise<PackageEntry> {
  const resolution = resolutionFile(key, asked),
    running = inFlight.get(resolution);
  if (running !== undefined) return running;
  const started = withTemporaryFolder(key.cacheDir, async (temporary) => {
    const download = join(temporary, 'download'),
      files = join(temporary, 'files');
    await mkdir(download);
    await mkdir(files);
    const fetched = await fetch(download, files);
    const entry = await publish({ ...key, version: fetched.version }, files, fetched);
    if (asked !== fetched.version)
      await writeAtomically(resolution, JSON.stringify({ version: fetched.version }));
    return entry;
  }).finally(() => inFlight.delete(resolution));
  inFlight.set(resolution, started);
  return started;
}

/** Renames files into the cache and writes their entry, unless another process was faster. */
async function publish(
  key: PackageKey,
  files: string,
  { archive, facts }: Fetched,
): Promise<PackageEntry> {
  const root = makeCacheFolder(key.cacheDir, ...entryParts(key));
  await checkPin(key, root, archive);
  const before = await readEntry(key);
  if (before !== null && 'dir' in before && before.archive === archive) return before;
  // A damaged entry's folder is removed once the new entry is written.
  const { folder: stale } = (await readRecord(join(root, 'entry.json'))) ?? {};

  const folder = `files-${randomBytes(6).toString('hex')}`,
    dir = join(root, folder);
  await rename(files, dir);
  const records: FileRecord[] = [];
  for (const name of (listAll(dir) ?? []).sort()) {
    const path = join(dir, name),
      stats = lstatSync(path),
      { size, mtimeMs, ctimeMs } = stats;
    if (stats.isFile()) records.push([name, size, mtimeMs, ctimeMs, await sha256OfFile(path)]);
  }
  const manifest: Manifest = { format: 1, folder, archive, facts, files: records };
  await writeAtomically(join(root, 'entry.json'), JSON.stringify(manifest));
  if (typeof stale === 'string' && FOLDER.test(stale))
    await rm(join(root, stale), { recursive: true, force: true });
  return { dir, archive, facts };
}

/**
 * Throws `UserFault` if a version's archive is another than the one that was fetched first. The
 * first archive's digest is recorded.
 */
async function checkPin(key: PackageKey, root: string, archive: Digest): Promise<void> {
  const file = join(root, 'pin.json');
  const pin = await readRecord(file);
  if (pin !== null && pin['archive'] !== archive)
    throw new UserFault(
      `${key.registry}:${key.name} ${key.version} has other bytes now (${archive}) than when ` +
        `it was first fetched (${String(pin['archive'])}).`,
      `A released version must not change. If you know why it did, remove ${root} and run again.`,
    );
  if (pin === null) await writeFile(file, JSON.stringify({ archive }));
}

/** Returns the path of the file that holds the version to which `asked` resolved at first. */
const resolutionFile = (key: CachedPackage, asked: string): string =>
  join(cacheFolder(key.cacheDir, ...packageParts(key)), `asked-${encodeURIComponent(asked)}.json`);

/** Returns the version that `asked` resolved to when it was first fetched; null before that. */
export async function rememberedVersion(key: CachedPackage, asked: string): Promise<string | null> {
  const { version } = (await readRecord(resolutionFile(key, asked))) ?? {};
  return typeof version === 'string' ? version : null;
}

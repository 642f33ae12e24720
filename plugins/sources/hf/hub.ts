/**
 * Keeps hub repositories in the cache that other hub clients use (`models--OWNER--NAME/{refs,
 * snapshots, blobs}`). What Python has downloaded is found here, and the other way round.
 */
import { createHash, randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { copyFile, lstat, mkdir, rename, rm, statfs, symlink } from 'node:fs/promises';
import { dirname, join, posix, relative, sep } from 'node:path';
import { type Digest, UserFault } from '../../../src/api.ts';
import { sha256 } from '../../../src/base/sha256.ts';
import { hasCode } from '../../../src/base/system-error.ts';
import { isRecord, readJsonFile } from '../../../src/base/untrusted/json.ts';
import { inWords, readLimit } from '../../../src/base/untrusted/limits.ts';
import {
  cacheFolder,
  fileInside,
  makeCacheFolder,
  nameFault,
  ownFolder,
  pathInside,
} from '../../../src/base/untrusted/paths.ts';
import {
  digestOfDigests,
  digestOfFile,
  exists,
  fileDigests,
  filesBelow,
  readRecord,
  readText,
  writeAtomically,
} from '../shared/digest.ts';
import { type HubFile, type HubSource, openHub, wantedFiles } from './hub-client.ts';

export interface Snapshot {
  readonly dir: string;
  readonly commit: string;
  /** The files that are needed, relative to `dir`. */
  readonly files: readonly string[];
  readonly digest: Digest;
}

const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);
const repositoryFolder = ({ settings: { cache }, repository: { type, name } }: HubSource): string =>
  fileInside(cache, `${type}s--${name.replaceAll('/', '--')}`, 'The repository');

/**
 * The files that were fetched here, with their digests. A snapshot without such a record may be an
 * interrupted download.
 */
type FetchRecord = { readonly files: { readonly [name: string]: string } };
function recordFile(source: HubSource, commit: string): string {
  const folder = cacheFolder(source.context.cacheDir, 'hub'),
    fetched = JSON.stringify([repositoryFolder(source), commit, source.repository.fragment]);
  return join(folder, `${sha256(fetched).slice(0, 32)}.json`);
}

/**
 * Looks for the snapshot in the cache, without using the network. Returns null if the snapshot is
 * not there, is damaged (the log says so), or may be incomplete.
 */
export async function findSnapshot(source: HubSource): Promise<Snapshot | null> {
  const { repository, context } = source;
  const root = repositoryFolder(source);
  const commit = await knownCommit(root, repository);
  if (commit === null) return null;
  const dir = join(root, 'snapshots', commit);
  if (!exists(dir)) return null;
  const record = await readFetchRecord(recordFile(source, commit));
  if (record === null) return foreignSnapshot(source, dir, commit);

  const names = Object.keys(record.files);
  for (const name of names) if (!exists(join(dir, name))) return reportDamage(`${name} is missing`);
  const digests = await fileDigests(dir, names, context.cacheDir);
  for (const name of names) {
    if (digests.get(name) !== record.files[name]) return reportDamage(`${name} has other content`);
  }
  return { dir, commit, files: names, digest: digestOfDigests(digests) };

  /** Logs what is damaged. Returns null, as `findSnapshot` then does. */
  function reportDamage(what: string): null {
    context.log(
      `${repository.type} ${repository.name} in the hub cache is damaged (${what}); it is ` +
        'fetched again',
    );
    return null;
  }
}

/**
 * Returns a snapshot that another client has downloaded; null if it lacks files that are needed, or
 * may be incomplete. A snapshot that may be incomplete is returned all the same if HF_HUB_OFFLINE
 * forbids fetching it again.
 */
async function foreignSnapshot(
  { repository, settings, context }: HubSource,
  dir: string,
  commit: string,
): Promise<Snapshot | null> {
  // Look for each file, because an interrupted download leaves links that lead nowhere.
  const present = (await filesBelow(dir)).filter((name) => exists(join(dir, name)));
  let names: string[];
  try {
    names = wantedFiles(repository, present);
  } catch (error) {
    if (error instanceof UserFault) return null;
    throw error;
  }
  const isWhole =
    repository.type === 'model'
      ? await isWholeModel(dir, names)
      : names.length === 1 && names[0] === repository.fragment;
  if (!isWhole && !settings.offline) return null;
  return {
    dir,
    commit,
    files: names,
    digest: digestOfDigests(await fileDigests(dir, names, context.cacheDir)),
  };
}

/**
 * Returns the text of one small file: from the cache, even if that holds only a part of the
 * repository, or else from the hub, if `fetch` is true and HF_HUB_OFFLINE is not set. Returns null
 * if the file was found in neither.
 */
export async function peekFile(
  source: HubSource,
  file: string,
  fetch: boolean,
): Promise<string | null> {
  const { revision, fragment } = source.repository;
  const path = fragment ? `${fragment}/${file}` : file;
  const root = repositoryFolder(source);
  const commit = await knownCommit(root, source.repository);
  if (commit !== null) {
    const text = await readText(pathInside(join(root, 'snapshots', commit), path, 'A file'));
    if (text !== null) return text;
  }
  return fetch && !source.settings.offline ? openHub(source).peek(commit ?? revision, path) : null;
}

/**
 * Returns the revision if it is a commit, else the commit that the cache has for it; null if the
 * cache has none.
 */
async function knownCommit(
  root: string,
  { name, revision }: HubSource['repository'],
): Promise<string | null> {
  if (isCommit(revision)) return revision;
  const ref = pathInside(join(root, 'refs'), revision, `The revision of ${name}`);
  const commit = (await readText(ref))?.trim() ?? '';
  return isCommit(commit) ? commit : null;
}

/**
 * Whether the files include a tokenizer and all weights: every shard that an index of weights
 * names or, without an index, model.safetensors.
 */
async function isWholeModel(dir: string, names: readonly string[]): Promise<boolean> {
  if (!names.some((name) => name.endsWith('tokenizer.json'))) return false;
  const index = names.find((name) => name.endsWith('model.safetensors.index.json'));
  if (index === undefined) return names.some((name) => name.endsWith('model.safetensors'));
  const parsed = await readJsonFile(pathInside(dir, index, 'The index'));
  const map = isRecord(parsed) ? parsed['weight_map'] : undefined;
  if (!isRecord(map)) return false;
  const folder = posix.dirname(index);
  return Object.values(map).every((shard) => names.includes(posix.join(folder, String(shard))));
}

/** Downloads those of the needed files that the cache lacks, and records all needed files. */
export async function fetchSnapshot(source: HubSource): Promise<Snapshot> {
  const { repository, context } = source,
    { name, revision } = repository;
  const hub = openHub(source);
  const commit = isCommit(revision) ? revision : await hub.commit();
  const root = repositoryFolder(source),
    dir = join(root, 'snapshots', commit);
  const entries = await hub.files(commit);
  const names = wantedFiles(repository, [...entries.keys()]);
  const wanted = names.flatMap((path) => entries.get(path) ?? []);
  await checkRoom(source, wanted);
  for (const entry of wanted) {
    const pointer = pathInside(dir, entry.path, `A file of ${name}`),
      blob = fileInside(join(root, 'blobs'), entry.oid, `A blob of ${name}`);
    await makeFolder(root, dirname(blob));
    await makeFolder(root, dirname(pointer));
    if (!(await isIntactBlob(blob, entry))) await fetchFile(entry, blob);
    await linkBlob(blob, pointer);
  }
  const digests = await fileDigests(dir, names, context.cacheDir);
  if (revision !== commit) {
    const ref = pathInside(join(root, 'refs'), revision, `The revision of ${name}`);
    await makeFolder(root, dirname(ref));
    await writeAtomically(ref, commit);
  }
  const record: FetchRecord = { files: Object.fromEntries(digests) };
  makeCacheFolder(context.cacheDir, 'hub');
  await writeAtomically(recordFile(source, commit), JSON.stringify(record));
  return { dir, commit, files: names, digest: digestOfDigests(digests) };

  /** Downloads a file to `blob`. Throws `UserFault` if its size or digest is not the hub's. */
  async function fetchFile(entry: HubFile, blob: string): Promise<void> {
    const { path, size } = entry;
    context.log(`fetching ${path} of ${name} from the hub (${(size / 1e6).toFixed(1)} MB)`);
    const temporary = `${blob}.${process.pid}-${randomBytes(4).toString('hex')}.incomplete`;
    try {
      const [algorithm, prefix] = hashAndPrefix(entry),
        hash = createHash(algorithm).update(prefix);
      const received = await hub.download(commit, entry, temporary, (part) => hash.update(part));
      if (received !== size || hash.digest('hex') !== entry.oid)
        throw new UserFault(
          `${path} of ${name} arrived damaged: its size or ${entry.hash} is not the hub's.`,
          'Run again to fetch it anew.',
        );
      await rename(temporary, blob);
    } finally {
      await rm(temporary, { force: true });
    }
  }
}

/**
 * Makes a folder of a repository, in which files will be replaced. Throws `UserFault` if a link is
 * on the way to it, or if a file is in its place: a hub may list a file and a folder under the same
 * name.
 * @param root the repository's folder
 */
async function makeFolder(root: string, path: string): Promise<void> {
  ownFolder(root, ...relative(root, path).split(sep));
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    if (!hasCode(error, 'EEXIST', 'ENOTDIR')) throw error;
    throw new UserFault(
      `The hub cache holds a file where a folder belongs: ${path}.`,
      'Remove it and run again.',
    );
  }
}

/** Throws `UserFault` if the files are larger than the limit, or than the disk's free space. */
async function checkRoom(
  { repository: { name }, settings: { cache }, context }: HubSource,
  wanted: readonly HubFile[],
): Promise<void> {
  const bytes = wanted.reduce((sum, { size }) => sum + size, 0),
    limit = readLimit('source', context.env);
  if (bytes > limit.value)
    throw new UserFault(
      `hf:${name} has ${inWords(bytes)} of files; at most ${inWords(limit.value)} are fetched ` +
        'for one source.',
      limit.raise,
    );
  await mkdir(cache, { recursive: true });
  const { bavail, bsize } = await statfs(cache);
  if (bytes > bavail * bsize)
    throw new UserFault(
      `hf:${name} has ${inWords(bytes)} of files, but the hub's cache has room for only ` +
        `${inWords(bavail * bsize)} (${cache}).`,
      'Set HF_HOME to a folder on a larger disk.',
    );
}

/**
 * Returns how the hub computes a file's digest (`HubFile.hash`): the algorithm, and a prefix that
 * is hashed before the file's bytes.
 */
const hashAndPrefix = ({ hash, size }: HubFile): readonly [algorithm: string, prefix: string] =>
  hash === 'sha256' ? ['sha256', ''] : ['sha1', `blob ${size}\0`];

/** Whether a file has the size and the digest that the hub lists. */
async function isIntactBlob(path: string, entry: HubFile): Promise<boolean> {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() !== true || stats.size !== entry.size) return false;
  return (await digestOfFile(path, ...hashAndPrefix(entry))).toString('hex') === entry.oid;
}

/** Puts a link to the blob, or a copy of it where links are not allowed, at the path `pointer`. */
async function linkBlob(blob: string, pointer: string): Promise<void> {
  const old = await lstat(pointer).catch(() => null);
  if (old?.isDirectory() === true)
    throw new UserFault(
      `The hub cache holds a folder where a file belongs: ${pointer}.`,
      'Remove it and run again.',
    );
  const temporary = `${pointer}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  try {
    try {
      await symlink(relative(dirname(pointer), blob), temporary);
    } catch (error) {
      if (!hasCode(error, 'EPERM')) throw error;
      await copyFile(blob, temporary); // on Windows only administrators can make links
    }
    // Replace an old file by renaming: a reader that has it open goes on reading it.
    await rename(temporary, pointer);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Reads a record; null if it is missing or damaged. */
async function readFetchRecord(path: string): Promise<FetchRecord | null> {
  const record = await readRecord(path);
  const isSound =
    isRecord(record?.['files']) &&
    Object.entries(record['files']).every(
      ([name, digest]) => nameFault(name) === null && typeof digest === 'string',
    );
  return isSound ? (record as FetchRecord) : null;
}

/**
 * Hub repositories in the hub's own cache, laid out as its other clients lay it out (`models--OWNER--NAME/{refs, snapshots,
 * blobs}`), so that what Python has downloaded is found, and the other way round.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import {
  copyFile,
  lstat,
  mkdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { UserFault } from '../../api.ts';
import type { Digest, JsonObject, SourceContext } from '../../api.ts';
import { digestOfDigests, fileDigests, filesBelow, sha256OfFile } from './digest.ts';
import { exists, writeAtomically } from './files.ts';
import { wantedFiles } from './hub-files.ts';
import type { Repository } from './hub-files.ts';
import type { HubSettings } from './hub-settings.ts';

export interface Snapshot {
  readonly dir: string;
  readonly commit: string;
  /** The wanted files, relative to `dir`. */
  readonly files: readonly string[];
  readonly digest: Digest;
}

const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);
const storage = ({ cache }: HubSettings, { type, name }: Repository): string =>
  join(cache, `${type}s--${name.replaceAll('/', '--')}`);

/** What a fetch of ours has brought, by name: an interrupted download is never taken for a whole one. */
type FetchRecord = { readonly files: { readonly [name: string]: string } };
const recordFile = (
  context: SourceContext,
  settings: HubSettings,
  repository: Repository,
  commit: string,
): string =>
  join(
    context.cacheDir,
    'hub',
    `${createHash('sha256')
      .update(JSON.stringify([storage(settings, repository), commit, repository.fragment]))
      .digest('hex')
      .slice(0, 32)}.json`,
  );

/** The snapshot if the cache holds it, without network. */
export async function findSnapshot(
  repository: Repository,
  settings: HubSettings,
  context: SourceContext,
): Promise<Snapshot | null> {
  const root = storage(settings, repository);
  const commit = isCommit(repository.revision)
    ? repository.revision
    : (await readText(join(root, 'refs', repository.revision)))?.trim();
  if (commit === undefined || !isCommit(commit)) return null;
  const dir = join(root, 'snapshots', commit);
  if (!(await exists(dir))) return null;
  const record = await readRecord(recordFile(context, settings, repository, commit));
  if (record === null) return foreignSnapshot(repository, dir, commit, settings, context);

  const names = Object.keys(record.files);
  for (const name of names)
    if (!(await exists(join(dir, name)))) return damaged(`${name} is missing`);
  const digests = await fileDigests(dir, names, context.cacheDir);
  for (const name of names) {
    if (digests.get(name) === record.files[name]) continue;
    // The blob is taken away, so that the next fetch does not take it for good.
    await rm(await realpath(join(dir, name)), { force: true });
    return damaged(`${name} has other content`);
  }
  return { dir, commit, files: names, digest: digestOfDigests(digests) };

  function damaged(what: string): null {
    context.log(
      `${repository.type} ${repository.name} in the hub cache is damaged (${what}); it is fetched again`,
    );
    return null;
  }
}

/** What another client has downloaded. It may be a part; it serves where nothing is missing, or where there is no network anyway. */
async function foreignSnapshot(
  repository: Repository,
  dir: string,
  commit: string,
  settings: HubSettings,
  context: SourceContext,
): Promise<Snapshot | null> {
  const present = [];
  for (const name of await filesBelow(dir)) if (await exists(join(dir, name))) present.push(name); // an interrupted download leaves links to nowhere
  let names: string[];
  try {
    names = wantedFiles(repository, present);
  } catch (error) {
    if (error instanceof UserFault) return null;
    throw error;
  }
  const whole =
    repository.type === 'model'
      ? await isWholeModel(dir, names)
      : names.length === 1 && names[0] === repository.fragment;
  if (!whole && !settings.offline) return null;
  return {
    dir,
    commit,
    files: names,
    digest: digestOfDigests(await fileDigests(dir, names, context.cacheDir)),
  };
}

/** Above this a file is no configuration. */
const MOST_PEEKED = 2 ** 20;

/**
 * The text of one small file: from the cache, which may hold a part of the repository, or with `fetch` from the hub.
 * Null where neither has it; why the hub does not answer is told when the repository is fetched.
 */
export async function peekFile(
  repository: Repository,
  file: string,
  settings: HubSettings,
  fetch: boolean,
): Promise<string | null> {
  const { type, name, revision, fragment } = repository;
  const path = fragment ? `${fragment}/${file}` : file;
  const root = storage(settings, repository);
  const commit = isCommit(revision)
    ? revision
    : (await readText(join(root, 'refs', revision)))?.trim();
  if (commit !== undefined && isCommit(commit)) {
    const text = await readText(join(root, 'snapshots', commit, path));
    if (text !== undefined) return text;
  }
  if (!fetch || settings.offline) return null;
  const hub = await import('@huggingface/hub');
  const blob = await hub.downloadFile({
    ...(settings.endpoint === undefined ? {} : { hubUrl: settings.endpoint }),
    fetch: authorised(settings.endpoint ?? hub.HUB_URL, settings.token),
    repo: { type, name },
    revision,
    path,
  });
  return blob === null || blob.size > MOST_PEEKED ? null : blob.text();
}

async function isWholeModel(dir: string, names: readonly string[]): Promise<boolean> {
  if (!names.some((name) => name.endsWith('tokenizer.json'))) return false;
  const index = names.find((name) => name.endsWith('model.safetensors.index.json'));
  if (index === undefined) return names.some((name) => name.endsWith('model.safetensors'));
  const { weight_map: map = {} } = JSON.parse(await readFile(join(dir, index), 'utf8')) as {
    weight_map?: { [tensor: string]: string };
  };
  return Object.values(map).every((shard) => names.includes(join(dirname(index), shard)));
}

/** Downloads what is missing of the wanted files, each into place by rename, and remembers which they are. */
export async function fetchSnapshot(
  repository: Repository,
  settings: HubSettings,
  context: SourceContext,
): Promise<Snapshot> {
  const hub = await import('@huggingface/hub');
  const { type, name, revision } = repository;
  const options = {
    ...(settings.endpoint === undefined ? {} : { hubUrl: settings.endpoint }),
    fetch: authorised(settings.endpoint ?? hub.HUB_URL, settings.token),
  };
  const commit = isCommit(revision) ? revision : await commitOf();
  const root = storage(settings, repository),
    dir = join(root, 'snapshots', commit);

  const entries = new Map<
    string,
    { size: number; oid?: string | undefined; lfs?: { oid: string; size: number } | undefined }
  >();
  for await (const entry of hub.listFiles({
    ...options,
    repo: { type, name },
    recursive: true,
    revision: commit,
  }))
    if (entry.type === 'file') entries.set(entry.path, entry);
  const names = wantedFiles(repository, [...entries.keys()]);
  for (const path of names) {
    if (path.split(/[\\/]/).includes('..') || /^[/\\]|^[A-Za-z]:/.test(path))
      throw new UserFault(`hf:${name} holds a file that leads out of its folder: ${path}.`);
    await bring(path, entries.get(path)!);
  }
  const digests = await fileDigests(dir, names, context.cacheDir);
  if (revision !== commit) {
    await mkdir(dirname(join(root, 'refs', revision)), { recursive: true });
    await writeAtomically(join(root, 'refs', revision), commit);
  }
  const record = recordFile(context, settings, repository, commit);
  await mkdir(dirname(record), { recursive: true });
  await writeAtomically(
    record,
    JSON.stringify({ files: Object.fromEntries(digests) } satisfies FetchRecord),
  );
  return { dir, commit, files: names, digest: digestOfDigests(digests) };

  async function commitOf(): Promise<string> {
    const info =
      type === 'model'
        ? await hub.modelInfo({ ...options, name, revision, additionalFields: ['sha'] })
        : await hub.datasetInfo({ ...options, name, revision, additionalFields: ['sha'] });
    if (!isCommit(info.sha))
      throw new UserFault(
        `The hub says no commit for ${name} at ${revision}.`,
        'Is HF_ENDPOINT a hub?',
      );
    return info.sha;
  }

  async function bring(
    path: string,
    entry: {
      size: number;
      oid?: string | undefined;
      lfs?: { oid: string; size: number } | undefined;
    },
  ): Promise<void> {
    const blob = join(
      root,
      'blobs',
      entry.lfs?.oid ?? entry.oid ?? createHash('sha256').update(`${commit}/${path}`).digest('hex'),
    );
    const pointer = join(dir, path),
      size = entry.lfs?.size ?? entry.size;
    await mkdir(dirname(blob), { recursive: true });
    await mkdir(dirname(pointer), { recursive: true });
    if (!(await isBlob(blob, size, entry.lfs?.oid))) {
      context.log(`fetching ${path} of ${name} from the hub (${(size / 1e6).toFixed(1)} MB)`);
      const content = await hub.downloadFile({
        ...options,
        repo: { type, name },
        path,
        revision: commit,
      });
      if (content === null)
        throw new UserFault(`The hub lists ${path} of ${name} and does not have it.`);
      const temporary = `${blob}.${process.pid}-${randomBytes(4).toString('hex')}.incomplete`;
      try {
        await pipeline(
          Readable.fromWeb(content.stream() as Parameters<typeof Readable.fromWeb>[0]),
          createWriteStream(temporary),
        );
        if (!(await isBlob(temporary, size, entry.lfs?.oid)))
          throw new UserFault(
            `${path} of ${name} arrived damaged: its size or sha256 is not the hub's.`,
            'Run again to fetch it anew.',
          );
        await rename(temporary, blob);
      } finally {
        await rm(temporary, { force: true });
      }
    }
    await link(blob, pointer);
  }
}

/** Whether a file is there with its size, and its sha256 where the hub says one. */
async function isBlob(path: string, size: number, sha256: string | undefined): Promise<boolean> {
  if (!(await exists(path)) || (await stat(path)).size !== size) return false;
  if (sha256 === undefined || !/^[0-9a-f]{64}$/.test(sha256)) return true;
  return (await sha256OfFile(path)) === sha256;
}

async function link(blob: string, pointer: string): Promise<void> {
  const temporary = `${pointer}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  try {
    await symlink(relative(dirname(pointer), blob), temporary);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
    await copyFile(blob, temporary); // Windows gives links to administrators only
  }
  // A file that a reader may hold is replaced, not written over.
  const old = await lstat(pointer).catch(() => null);
  if (old?.isDirectory() === true)
    throw new UserFault(
      `The hub cache holds a folder where a file belongs: ${pointer}.`,
      'Remove it and run again.',
    );
  await rename(temporary, pointer);
}

/** The token goes to the hub alone, never to where the hub redirects. */
function authorised(endpoint: string, token: string | undefined): typeof fetch {
  const origin = new URL(endpoint).origin;
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    if (token !== undefined && url.origin === origin)
      headers.set('authorization', `Bearer ${token}`);
    try {
      return await fetch(input, { ...init, headers });
    } catch (error) {
      const cause = (error as Error).cause;
      throw new UserFault(
        `The hub can't be reached at ${url.host} (${cause instanceof Error && cause.message !== '' ? cause.message : (error as Error).message}).`,
        "Connect to the network, or name a mirror in HF_ENDPOINT. What is in the hub's cache already needs none.",
      );
    }
  };
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return undefined;
    throw error;
  }
}

async function readRecord(path: string): Promise<FetchRecord | null> {
  const text = await readText(path);
  if (text === undefined) return null;
  try {
    const record = JSON.parse(text) as Partial<FetchRecord>;
    return typeof record.files === 'object' ? (record as FetchRecord) : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** What a paper would cite. Which mirror it came from is no part of that. */
export const snapshotFacts = (
  { type, name, revision }: Repository,
  { commit, files, digest }: Snapshot,
): JsonObject => ({
  kind: 'hf',
  type,
  repository: name,
  revision,
  commit,
  files: files.length,
  digest,
});

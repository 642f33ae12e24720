/**
 * Receives entries from a remote. Nothing that a remote holds is trusted: names, sizes and digests
 * are checked before and while bytes arrive, and an entry appears in the store whole or not at all.
 */
import { createHash } from 'node:crypto';
import { rmSync, statfsSync, utimesSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Digest, type JsonObject, UserFault } from '../../api.ts';
import { sha256 } from '../../base/sha256.ts';
import { hasCode } from '../../base/system-error.ts';
import { isRecord, parseJson, shown } from '../../base/untrusted/json.ts';
import { inWords, MB, readLimit } from '../../base/untrusted/limits.ts';
import { nameFault } from '../../base/untrusted/paths.mjs';
import { pathInside } from '../../base/untrusted/paths.ts';
import { actionKey, contentDigest } from '../../plan/keys.ts';
import type { ActionKey, KeyComponents } from '../../plan/types.ts';
import { diskFault } from '../faults.ts';
import { innerFolders, SETTLED_MS } from '../files.ts';
import { makeFolder } from '../folders.ts';
import {
  bytesOf,
  type Entry,
  keptFiles,
  type Manifest,
  MANIFEST_FILE,
  type ManifestFile,
  parseManifest,
} from '../manifest.ts';
import { rememberEnvironment } from '../provenance.ts';
import type { Store } from '../store.ts';
import {
  blobObject,
  entryObject,
  environmentName,
  environmentObject,
  type Objects,
  RemoteFault,
} from './objects.ts';

export type Described =
  | { readonly state: 'known'; readonly manifest: Manifest; readonly text: string }
  | { readonly state: 'absent' }
  | { readonly state: 'refused'; readonly why: string };

export type Received =
  | { readonly state: 'received'; readonly entry: Entry; readonly bytes: number }
  | { readonly state: 'absent' }
  /** What the remote holds under this key is not a sound entry. */
  | { readonly state: 'refused'; readonly why: string };

/** Thrown if an object is missing, malformed, or not what was asked for. */
class Refusal extends Error {}

/**
 * The pauses (ms) before a transfer that broke off is resumed: the first after an attempt that
 * brought bytes, the second after one that brought none. After two attempts in a row without a
 * byte, the transfer is given up.
 */
const PAUSES: readonly number[] = [200, 1000];

const ENVIRONMENT_BYTES = MB;

/**
 * Receives the manifest of an entry and checks it.
 * @param volatile the stage's volatile files; null if the stage is not known, so that the digest of
 *   the content is not checked
 * @throws RemoteFault if the remote does not answer
 */
export async function receiveManifest(
  objects: Objects,
  key: ActionKey,
  volatile: readonly string[] | null,
): Promise<Described> {
  try {
    const { value: most } = readLimit('list');
    const text = await receiveText(objects, entryObject(key), most, 'its manifest');
    if (text === null) return { state: 'absent' };
    return { state: 'known', manifest: checkedManifest(text, key, volatile), text };
  } catch (error) {
    if (error instanceof Refusal) return { state: 'refused', why: error.message };
    throw error;
  }
}

/**
 * Receives an entry into the store. The caller holds its lease.
 * @param volatile as in `receiveManifest`
 * @throws RemoteFault if the remote does not answer
 * @throws UserFault if the disk refuses
 */
export async function receiveEntry(
  objects: Objects,
  store: Store,
  key: ActionKey,
  volatile: readonly string[] | null,
): Promise<Received> {
  let scratch: string | null = null;
  try {
    const described = await receiveManifest(objects, key, volatile);
    if (described.state !== 'known') return described;
    const { manifest, text } = described;
    const bytes = bytesOf(keptFiles(manifest));
    scratch = store.scratch(`remote-${key.slice(0, 16)}`);
    checkRoom(scratch, bytes);
    for (const file of keptFiles(manifest)) await receiveFile(objects, scratch, file);
    setFolderTimes(scratch, manifest);
    await receiveEnvironment(objects, store.root, manifest.facts);
    const entry = await store.adopt(scratch, manifest, text);
    return { state: 'received', entry, bytes };
  } catch (error) {
    if (scratch !== null) rmSync(scratch, { recursive: true, force: true });
    if (error instanceof Refusal) return { state: 'refused', why: error.message };
    throw diskFault(error, store.root);
  }
}

/** @throws UserFault if the disk of `dir` has fewer than `bytes` bytes left */
function checkRoom(dir: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(dir);
  if (bytes > bavail * bsize)
    throw new UserFault(
      `the disk has ${inWords(bavail * bsize)} left, and the entry has ${inWords(bytes)}`,
      'free some space, or give another place with --store',
    );
}

/** Receives a file into `dir`. Throws `Refusal` if the remote lacks it or it was changed. */
async function receiveFile(
  objects: Objects,
  dir: string,
  { path: name, size, sha256: digest }: ManifestFile,
): Promise<void> {
  const file = pathInside(dir, name, 'a file of a remote entry');
  makeFolder(path.dirname(file));
  const hash = createHash('sha256');
  // Fails if the file exists, as on a file system for which `A` and `a` are the same name.
  const handle = await open(file, 'wx').catch((error: unknown) => {
    if (hasCode(error, 'EEXIST'))
      throw new Refusal(`${name} and another of its files have the same name on this file system`);
    throw error;
  });
  try {
    const found = await receiveBytes(objects, blobObject(digest), size, name, async (chunk) => {
      hash.update(chunk);
      await handle.writeFile(chunk);
    });
    if (!found) throw new Refusal(`${name} is missing`);
  } finally {
    await handle.close();
  }
  if (hash.digest('hex') !== digest) throw new Refusal(`${name} was changed`);
}

/**
 * Passes the bytes of an object to `take`, resuming transfers that break off. Returns false if
 * there is no object. Throws `Refusal` unless it has exactly `size` bytes, and `RemoteFault` if the
 * transfer is given up.
 * @param name names the object in messages
 */
async function receiveBytes(
  objects: Objects,
  object: string,
  size: number,
  name: string,
  take: (chunk: Uint8Array) => Promise<void>,
): Promise<boolean> {
  let received = 0,
    failures = 0;
  for (;;) {
    const before = received;
    try {
      const reading = await objects.read(object, received);
      if (reading === null) return false;
      try {
        if (reading.size !== size)
          throw new Refusal(`${name} has ${reading.size} bytes, not ${size}`);
        for await (const chunk of reading.bytes) {
          received += chunk.length;
          if (received > size) throw new Refusal(`${name} has more than ${size} bytes`);
          await take(chunk);
        }
      } finally {
        reading.close();
      }
      if (received < size) throw new Refusal(`${name} is cut short after ${received} bytes`);
      return true;
    } catch (error) {
      if (!(error instanceof RemoteFault) || !error.again) throw error;
      if (received === size && received > before) return true; // broken off after the last byte
      failures = received > before ? 0 : failures + 1;
      const pause = (objects.pauses ?? PAUSES)[failures];
      if (pause === undefined) throw error;
      await sleep(pause);
    }
  }
}

/**
 * Receives a text. Returns null if there is no object. Throws `Refusal` if it has more than `most`
 * bytes or is not UTF-8.
 * @param what names the object in messages
 */
export async function receiveText(
  objects: Objects,
  object: string,
  most: number,
  what: string,
): Promise<string | null> {
  const size = await objects.sizeOf(object);
  if (size === null) return null;
  if (size > most) throw new Refusal(`${what} has ${inWords(size)}, more than ${inWords(most)}`);
  const chunks: Uint8Array[] = [];
  const found = await receiveBytes(objects, object, size, what, (chunk) => {
    chunks.push(chunk);
    return Promise.resolve();
  });
  if (!found) return null;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new Refusal(`${what} is not UTF-8 text`);
  }
}

/** Returns the message of a `Refusal`; null for any other error. */
export const refusalReason = (error: unknown): string | null =>
  error instanceof Refusal ? error.message : null;

/**
 * Receives the record of the environment that the entry ran in. Only people read it, so an entry is
 * taken even if its record is missing or wrong.
 */
async function receiveEnvironment(
  objects: Objects,
  root: string,
  { environment }: JsonObject,
): Promise<void> {
  const digest = environmentName(environment);
  if (digest === null) return;
  try {
    const object = environmentObject(digest);
    const text = await receiveText(objects, object, ENVIRONMENT_BYTES, 'its environment');
    if (text === null || sha256(text) !== digest) return;
    const record = parseJson(text, 'its environment');
    if (isRecord(record)) rememberEnvironment(root, record as JsonObject);
  } catch (error) {
    if (!(error instanceof Refusal) && !(error instanceof UserFault)) throw error;
  }
}

/** Sets the folders' times to just before the entry was made, so that a later change shows. */
function setFolderTimes(dir: string, manifest: Manifest): void {
  const time = new Date(Math.max(0, Date.parse(manifest.created) - SETTLED_MS));
  for (const folder of innerFolders(keptFiles(manifest).map(({ path: name }) => name)))
    utimesSync(pathInside(dir, folder, 'a folder of a remote entry'), time, time);
}

/**
 * Returns the manifest in a text. Throws `Refusal` if that is not a sound manifest of `key`.
 * @param volatile as in `receiveManifest`
 * @throws UserFault if a limit in the environment is malformed
 */
export function checkedManifest(
  text: string,
  key: ActionKey,
  volatile: readonly string[] | null,
): Manifest {
  try {
    parseJson(text, 'its manifest'); // bounds the depth
  } catch (error) {
    if (!(error instanceof UserFault)) throw error;
    throw new Refusal(error.message.replace(/\.$/, ''));
  }
  const parsed = parseManifest(text, key);
  if ('fault' in parsed) throw new Refusal(parsed.fault);
  const { manifest } = parsed;
  const fault =
    componentsFault(manifest, key) ??
    filesFault(manifest.files) ??
    letGoFault(manifest) ??
    factsFault(manifest);
  if (fault !== null) throw new Refusal(fault);
  if (volatile !== null && contentDigest(manifest.files, volatile) !== manifest.content)
    throw new Refusal("its manifest's digest of the content is not that of its files");
  return manifest;
}

const isDigest = (value: unknown): value is Digest =>
  typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value);
const areDigests = (value: unknown): boolean =>
  isRecord(value) && Object.values(value).every(isDigest);
/** Whether a value is a text of at most 500 characters without control characters. */
const isPrintable = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= 500 && !/[\u0000-\u001f\u007f-\u009f]/.test(value);

/** Returns what is wrong with the components, whose key must be `key`; null if nothing is. */
function componentsFault({ components, kind }: Manifest, key: ActionKey): string | null {
  const given: unknown = components;
  const isWellFormed =
    isRecord(given) &&
    isPrintable(kind) &&
    given['kind'] === kind &&
    areDigests(given['code']) &&
    isRecord(given['params']) &&
    areDigests(given['inputs']) &&
    areDigests(given['assets']) &&
    (given['backend'] === null || isPrintable(given['backend']));
  if (!isWellFormed) return 'its manifest has malformed components';
  return keyFrom(components) === key ? null : 'its manifest has the components of another entry';
}

/** Returns the components' key; null if they have none. */
function keyFrom(components: KeyComponents): ActionKey | null {
  try {
    return actionKey(components);
  } catch {
    return null; // a text that has no canonical form
  }
}

/** Returns what is wrong with a manifest's list of files; null if nothing is. */
function filesFault(files: unknown): string | null {
  if (!Array.isArray(files) || files.length === 0) return 'its manifest has no list of files';
  const { value: most } = readLimit('files'),
    { value: mostBytes } = readLimit('source');
  if (files.length > most) return `it has ${files.length} files, more than ${most}`;
  const names = new Set<string>();
  let bytes = 0;
  for (const file of files as readonly unknown[]) {
    if (!isRecord(file)) return 'its manifest has a malformed file';
    const { path: name, size, sha256 } = file;
    const why = nameFault(name);
    if (why !== null) return `its manifest names the file ${shown(name)}, which ${why}`;
    if (!Number.isSafeInteger(size) || (size as number) < 0)
      return `its manifest gives ${String(name)} an invalid size`;
    if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256))
      return `its manifest gives ${String(name)} an invalid digest`;
    if (names.has(name as string) || name === MANIFEST_FILE)
      return `its manifest names ${String(name)} twice`;
    names.add(name as string);
    bytes += size as number;
  }
  if (bytes > mostBytes) return `it has ${inWords(bytes)}, more than ${inWords(mostBytes)}`;
  const inFile = [...names].find((name) => [...innerFolders([name])].some((one) => names.has(one)));
  return inFile === undefined ? null : `its manifest names ${inFile}, whose folder is also a file`;
}

/** Returns what is wrong with a manifest's `letGo`; null if it is sound or absent. */
function letGoFault({ files, letGo }: Manifest): string | null {
  const given: unknown = letGo;
  if (given === undefined) return null;
  const names = new Set<unknown>(files.map(({ path: name }) => name));
  return Array.isArray(given) && given.length > 0 && given.every((name) => names.has(name))
    ? null
    : 'its manifest names files as let go that it does not have';
}

/**
 * Returns what is wrong with the content's digest, the times, the backend or the facts; null if
 * nothing is.
 */
function factsFault({ content, seconds, created, backend, facts }: Manifest): string | null {
  const given: unknown = facts;
  if (!isDigest(content)) return 'its manifest has no digest of its content';
  if (!Number.isFinite(seconds) || seconds < 0) return 'its manifest has no duration';
  if (
    typeof created !== 'string' ||
    !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(created) ||
    Number.isNaN(Date.parse(created))
  )
    return 'its manifest has no date';
  if (![null, 'tensorflow', 'wasm', 'cpu', 'torch'].includes(backend))
    return 'its manifest has an unknown backend';
  if (!isRecord(given) || !(given['computed'] === undefined || isBackendInfo(given['computed'])))
    return 'its manifest has a malformed record of where it ran';
  return null;
}

/** Whether a value has the fields of `BackendInfo` that `results` and `diff` show. */
function isBackendInfo(value: unknown): boolean {
  if (!isRecord(value)) return false;
  // Manifests from before the fused operations do not name them.
  const { name, precision, tensorflow, fused = null, gpu, packages, deterministic } = value;
  return (
    [name, precision].every(isPrintable) &&
    [tensorflow, fused, gpu].every((text) => text === null || isPrintable(text)) &&
    isRecord(packages) &&
    Object.entries(packages).every((pair) => pair.every(isPrintable)) &&
    typeof deterministic === 'boolean'
  );
}

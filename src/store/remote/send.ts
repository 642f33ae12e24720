/**
 * Sends entries of the store to a remote: files first, the manifest last. A run is sent as the list
 * of its entries' keys, under its id.
 */
import { createHash } from 'node:crypto';
import { createReadStream, lstatSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { UserFault } from '../../api.ts';
import { hasCode } from '../../base/system-error.ts';
import { isRecord, parseJson } from '../../base/untrusted/json.ts';
import { readLimit } from '../../base/untrusted/limits.ts';
import { pathInside } from '../../base/untrusted/paths.ts';
import type { ActionKey } from '../../plan/types.ts';
import { keptFiles, MANIFEST_FILE, type ManifestFile } from '../manifest.ts';
import { isUnreadable, openRegular, readRegularText } from '../regular.ts';
import { seal, unseal } from '../sealed.ts';
import type { Store } from '../store.ts';
import {
  blobObject,
  entryObject,
  environmentName,
  environmentObject,
  type Objects,
  runObject,
} from './objects.ts';
import { checkedManifest, receiveManifest, receiveText, refusalReason } from './receive.ts';

export type Sent =
  | { readonly state: 'sent'; readonly bytes: number }
  /** The remote has the entry. */
  | { readonly state: 'present' }
  /** The store's entry is missing or damaged. */
  | { readonly state: 'unsound'; readonly why: string };

/** Thrown if a file of the store's entry is missing, unreadable or changed. */
class Unsound extends Error {}

/**
 * Sends an entry unless the remote has it. A remote entry is replaced only if its manifest is
 * damaged, or if it lacks a file that this store's entry still has, or has it in another size.
 * @param force whether to send everything again; an entry of which files were let go is still sent
 *   only if the remote lacks it
 * @throws RemoteFault if the remote does not take it
 */
export async function sendEntry(
  objects: Objects,
  store: Store,
  key: ActionKey,
  force = false,
): Promise<Sent> {
  const found = store.lookUp(key);
  if (found.state !== 'hit')
    return { state: 'unsound', why: found.state === 'absent' ? 'it is not here' : found.why };
  const { dir } = found.entry;
  try {
    const text = readStored(path.join(dir, MANIFEST_FILE));
    const manifest = checkedManifest(text, key, null),
      { letGo, facts } = manifest;
    // An entry some of whose files were let go never replaces a whole one.
    if ((!force || letGo !== undefined) && (await isPresent(objects, key, letGo ?? [])))
      return { state: 'present' };
    let bytes = 0;
    for (const file of keptFiles(manifest)) bytes += await sendFile(objects, dir, file, force);
    await sendEnvironment(objects, store.root, facts['environment']);
    await sendText(objects, entryObject(key), text);
    return { state: 'sent', bytes };
  } catch (error) {
    const why = error instanceof Unsound ? error.message : refusalReason(error);
    if (why === null) throw error;
    return { state: 'unsound', why };
  }
}

/**
 * Whether the remote has the entry, with all files but those in `letGo`.
 * @param letGo files that the store's entry lacks, so that the remote's entry may lack them too
 */
async function isPresent(
  objects: Objects,
  key: ActionKey,
  letGo: readonly string[],
): Promise<boolean> {
  const described = await receiveManifest(objects, key, null);
  if (described.state !== 'known') return false;
  const { manifest } = described;
  if (manifest.letGo?.some((name) => !letGo.includes(name)) === true) return false;
  for (const { size, sha256 } of keptFiles(manifest))
    if ((await objects.sizeOf(blobObject(sha256))) !== size) return false;
  return true;
}

/**
 * Sends a file, unless the remote has its object with the right size and `force` is false. Returns
 * the number of bytes sent.
 */
async function sendFile(
  objects: Objects,
  dir: string,
  file: ManifestFile,
  force: boolean,
): Promise<number> {
  const object = blobObject(file.sha256);
  if (!force && (await objects.sizeOf(object)) === file.size) return 0;
  await objects.write(object, file.size, checkedBytes(dir, file));
  return file.size;
}

/** Yields a file's bytes. Throws before the last chunk if they are not what was stored. */
async function* checkedBytes(
  dir: string,
  { path: name, size, sha256 }: ManifestFile,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let seen = 0;
  const file = pathInside(dir, name, 'a file of an entry');
  /** Returns the file's descriptor. Throws `Unsound` if it is missing or unreadable. */
  const openFile = (): number => {
    try {
      return openRegular(file);
    } catch (error) {
      if (hasCode(error, 'ENOENT') || isUnreadable(error))
        throw new Unsound(`${name} is missing or can't be read`);
      throw error;
    }
  };
  for await (const chunk of createReadStream('', { fd: openFile(), highWaterMark: 1 << 20 })) {
    const bytes = chunk as Buffer;
    hash.update(bytes);
    seen += bytes.length;
    if (seen >= size && (seen > size || hash.copy().digest('hex') !== sha256))
      throw new Unsound(`${name} was changed`);
    yield bytes;
  }
  if (seen !== size || hash.digest('hex') !== sha256) throw new Unsound(`${name} was changed`);
}

/** Sends the record of an environment unless the remote has it or the store has none. */
async function sendEnvironment(objects: Objects, root: string, digest: unknown): Promise<void> {
  const name = environmentName(digest);
  if (name === null) return;
  const file = path.join(root, 'environments', `${name}.json`);
  if (!lstatSync(file, { throwIfNoEntry: false })?.isFile()) return;
  if ((await objects.sizeOf(environmentObject(name))) === null)
    await sendText(objects, environmentObject(name), readStored(file));
}

export function sendText(objects: Objects, object: string, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  return objects.write(object, bytes.length, Readable.from([bytes]));
}

/** Returns the text of a file of the store. @throws UserFault if it is missing or unreadable */
function readStored(file: string): string {
  try {
    return readRegularText(file);
  } catch (error) {
    if (isUnreadable(error) || hasCode(error, 'ENOENT'))
      throw new UserFault(`${file} can't be read`, 'dosimeter verify');
    throw error;
  }
}

const KEY = /^[0-9a-f]{64}$/;

export const sendRun = (objects: Objects, id: string, keys: readonly ActionKey[]): Promise<void> =>
  sendText(objects, runObject(id), `${seal({ keys })}\n`);

/**
 * Returns the keys of a run's entries.
 * @throws UserFault if the remote has no sound record of the run
 */
export async function receiveRun(objects: Objects, id: string): Promise<readonly ActionKey[]> {
  const what = `the record of the run ${id}`;
  try {
    const text = await receiveText(objects, runObject(id), readLimit('list').value, what);
    if (text === null)
      throw new UserFault(
        `${objects.uri} has no run ${id}`,
        'pull its spec, or push the run from where it is',
      );
    return runKeys(text, what);
  } catch (error) {
    const why = refusalReason(error);
    throw why === null ? error : new UserFault(`${objects.uri}: ${why}`);
  }
}

/** Returns the keys in a run's record. Throws `UserFault` if the text is no such record. */
export function runKeys(text: string, what: string): readonly ActionKey[] {
  parseJson(text, what);
  const record = unseal(text.replace(/\n$/, ''));
  const keys = isRecord(record) ? record['keys'] : undefined;
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'string' && KEY.test(key)))
    throw new UserFault(`${what} is damaged`, 'push the run again');
  return [...new Set(keys as ActionKey[])];
}

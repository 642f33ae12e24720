/**
 * A remote: named objects in a folder or in an S3 bucket. Entries are kept as manifests that name
 * the content of their files, so an object never changes and two senders can't mix their files.
 *
 *     v1/entries/aa/KEY.json        the manifest of an entry, as it is in the store
 *     v1/blobs/aa/SHA256            the content of a file
 *     v1/environments/SHA256.json   the environment that entries ran in
 *     v1/runs/ID.json               the keys of a run
 *     v1/signs/KIND-UUID            the marker of a push or a gc that is under way
 */
import { UserFault } from '../../api.ts';

/** A transfer of an object's bytes, from an offset on. */
export interface Reading {
  /** The size of the whole object, as the remote says. */
  readonly size: number;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Ends the transfer, if the bytes are not read to their end. */
  close(): void;
}

export interface Listed {
  readonly name: string;
  readonly size: number;
  /** When it was written last, in milliseconds since 1970 by the remote's own clock. */
  readonly modified: number;
}

export interface Objects {
  /** The remote as messages show it; holds no secrets. */
  readonly uri: string;
  /** The pauses (ms) before a transfer that broke off is resumed. Default: PAUSES of receive.ts. */
  readonly pauses?: readonly number[];
  /**
   * Checks that the remote is there. Throws `UserFault` if it can't be used.
   * @param writing whether it will be written to
   */
  open(writing: boolean): Promise<void>;
  /** Returns an object's size in bytes; null if there is no such object. Throws `RemoteFault`. */
  sizeOf(name: string): Promise<number | null>;
  /**
   * Begins to read an object at the byte `from`. Returns null if there is no such object. Throws
   * `RemoteFault`, also while bytes are read.
   */
  read(name: string, from: number): Promise<Reading | null>;
  /** Writes an object whole or not at all. Throws `RemoteFault`, or what `bytes` throws. */
  write(name: string, size: number, bytes: AsyncIterable<Uint8Array>): Promise<void>;
  /** Lists the objects whose name begins with `v1/FOLDER/`, in any order. Throws `RemoteFault`. */
  list(folder: string): AsyncIterable<Listed>;
  /** Removes an object, if there is one of this name. Throws `RemoteFault`. */
  remove(name: string): Promise<void>;
}

/** Thrown if a remote can't be reached, refuses a request, or breaks off a transfer. */
export class RemoteFault extends UserFault {
  /** @param again whether a further attempt may succeed */
  constructor(
    message: string,
    hint?: string,
    readonly again = false,
  ) {
    super(message, hint);
  }
}

/** Makes transfers throw `RemoteFault` once `signal` is aborted. */
export function interruptible(objects: Objects, signal: AbortSignal): Objects {
  const untilAborted = async function* (bytes: AsyncIterable<Uint8Array>) {
    for await (const chunk of bytes) {
      if (signal.aborted) throw new RemoteFault('the transfer was stopped');
      yield chunk;
    }
  };
  return {
    ...objects,
    async read(name, from) {
      const reading = await objects.read(name, from);
      return reading && { ...reading, bytes: untilAborted(reading.bytes) };
    },
    write: (name, size, bytes) => objects.write(name, size, untilAborted(bytes)),
  };
}

const SHA256 = /^[0-9a-f]{64}$/;

/** Returns an object's name. Throws if `id` is neither a digest nor a key: all else is kept out. */
function objectName(folder: string, id: string, ending: string): string {
  if (!SHA256.test(id)) throw new TypeError(`${JSON.stringify(id.slice(0, 80))} is not a digest`);
  return `v1/${folder}/${id.slice(0, 2)}/${id}${ending}`;
}

export const entryObject = (key: string): string => objectName('entries', key, '.json');
export const blobObject = (sha256: string): string => objectName('blobs', sha256, '');
export const environmentObject = (sha256: string): string =>
  objectName('environments', sha256, '.json');

/** Returns the digest in a manifest's `facts.environment`; null if it has none. */
export const environmentName = (value: unknown): string | null =>
  typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value) ? value.slice(7) : null;

export const isRunId = (text: string): boolean => /^\d{8}-\d{6}-\d{1,10}(?:-\d{1,6})?$/.test(text);

/** Returns the name of the object with a run's keys. Throws if `id` is not a run's id. */
export function runObject(id: string): string {
  if (!isRunId(id)) throw new TypeError(`${JSON.stringify(id.slice(0, 80))} is not a run's id`);
  return `v1/runs/${id}.json`;
}

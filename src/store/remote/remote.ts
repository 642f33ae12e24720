/**
 * A remote beside a store: fetches entries that the store lacks and sends new ones. Counts
 * transfers, bounds how many run at once, and gives up on a remote that does not answer.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import PQueue from 'p-queue';
import { UserFault } from '../../api.ts';
import { nameFault } from '../../base/untrusted/paths.mjs';
import type { ActionKey } from '../../plan/types.ts';
import type { Entry } from '../manifest.ts';
import type { Store } from '../store.ts';
import { folderObjects } from './folder.ts';
import { beginPush, type Marker } from './gc.ts';
import { interruptible, type Objects, RemoteFault } from './objects.ts';
import { receiveEntry } from './receive.ts';
import { sendEntry, type Sent } from './send.ts';

const TRANSFERS = 6;
/** After this many faults of the remote in a row, it is no longer used. */
const MOST_FAULTS = 3;
const POLL_MS = 250;

export interface Counts {
  readonly fetched: number;
  readonly sent: number;
  /** Bytes of the files that were fetched and sent. */
  readonly bytes: number;
  /** How many fetches and sendings failed: the remote's entry was refused, or a fault came up. */
  readonly failed: number;
}

export interface RemoteOptions {
  /** Gets a sentence for each entry that is refused or whose transfer fails. */
  readonly tell: (message: string) => void;
  /** Gets a sentence for each entry that was transferred. */
  readonly log?: (message: string) => void;
  /** Once aborted, ends the transfers under way and begins no more. */
  readonly signal?: AbortSignal;
}

const shortKey = (key: ActionKey): string => key.slice(0, 10);

export class Remote {
  readonly uri: string;
  readonly #objects: Objects;
  readonly #store: Store;
  readonly #options: RemoteOptions;
  readonly #sending;
  readonly #queue = new PQueue({ concurrency: TRANSFERS });
  readonly #counts = { fetched: 0, sent: 0, bytes: 0, failed: 0 };
  /** The keys that the remote was asked for, with any result. They are not asked for again. */
  readonly #asked = new Set<ActionKey>();
  /** Fetches under way, by key: stages with equal keys share them. */
  readonly #running = new Map<ActionKey, Promise<Entry | null>>();
  /** How many transfers in a row ended in a fault of the remote. */
  #faults = 0;

  constructor(objects: Objects, store: Store, options: RemoteOptions) {
    const { signal, tell } = options;
    this.uri = objects.uri;
    this.#objects = signal === undefined ? objects : interruptible(objects, signal);
    this.#store = store;
    this.#options = options;
    this.#sending = createSending(this.#objects, store, tell);
  }

  /**
   * Fetches the entry of `key` into the store and returns it. Returns null if the remote has none
   * or fails, if the entry was refused, if another process holds its lease, or if the remote was
   * asked for this key before.
   * @param volatile as in `receiveManifest`
   */
  async fetch(key: ActionKey, volatile: readonly string[] | null): Promise<Entry | null> {
    if (this.#asked.has(key) || this.#hasFailedOften()) return null;
    const fetching =
      this.#running.get(key) ??
      this.#queue.add(() => this.#receive(key, volatile)).finally(() => this.#running.delete(key));
    this.#running.set(key, fetching);
    return fetching;
  }

  /** Begins to send an entry; `settled` waits for the end. A failure is told, not thrown. */
  sendSoon(key: ActionKey): void {
    void this.#queue.add(() => this.#send(key));
  }

  /** Resolves to the counts of all transfers when every one has ended. */
  async settled(): Promise<Counts> {
    await this.#queue.onIdle();
    await this.#sending.end();
    return this.#counts;
  }

  /** Fetches an entry under its lease, unless the store has it by now. Returns null as `fetch`. */
  async #receive(key: ActionKey, volatile: readonly string[] | null): Promise<Entry | null> {
    const lease = this.#store.take(key);
    if ('by' in lease) return null;
    try {
      // Another process may have made it since the caller looked.
      const here = await this.#store.lookUpShared(key, false);
      if (here.state === 'hit') return here.entry;
      if (here.state === 'damaged') this.#store.moveAside(key);
      const received = await this.#attempt(key, () =>
        receiveEntry(this.#objects, this.#store, key, volatile),
      );
      this.#asked.add(key);
      if (received?.state === 'refused')
        this.#fail(`${shortKey(key)}: what ${this.uri} holds is refused: ${received.why}`);
      if (received?.state !== 'received') return null;
      this.#counts.fetched++;
      this.#counts.bytes += received.bytes;
      this.#options.log?.(`${key} fetched from ${this.uri}, ${received.bytes} bytes`);
      return received.entry;
    } finally {
      lease.held.release();
    }
  }

  /** Sends an entry. A failure is told, not thrown. */
  async #send(key: ActionKey): Promise<void> {
    try {
      const sent = await this.#attempt(key, () => this.#sending.send(key, false));
      if (sent?.state === 'unsound') this.#fail(`${shortKey(key)} was not sent: ${sent.why}`);
      if (sent?.state !== 'sent') return;
      this.#counts.sent++;
      this.#counts.bytes += sent.bytes;
      this.#options.log?.(`${key} sent to ${this.uri}, ${sent.bytes} bytes`);
    } catch (error) {
      this.#fail(`${shortKey(key)} was not sent: ${(error as Error).message}`);
    }
  }

  /**
   * Returns the result of a transfer. Returns null if `signal` is aborted, if the remote has failed
   * too often before, or if it fails now, which is told.
   */
  async #attempt<T>(key: ActionKey, transfer: () => Promise<T>): Promise<T | null> {
    const { signal, tell } = this.#options;
    const isStopped = (): boolean => signal?.aborted === true;
    if (this.#hasFailedOften() || isStopped()) return null;
    try {
      const result = await transfer();
      this.#faults = 0;
      return result;
    } catch (error) {
      if (!(error instanceof RemoteFault)) throw error;
      if (isStopped()) return null;
      this.#fail(`${shortKey(key)}: ${error.message}`);
      if (++this.#faults === MOST_FAULTS) tell(`${this.uri} is not asked any more`);
      return null;
    }
  }

  #hasFailedOften(): boolean {
    return this.#faults >= MOST_FAULTS;
  }

  #fail(message: string): void {
    this.#counts.failed++;
    this.#options.tell(message);
  }
}

/**
 * Returns what sends entries under a marker, which keeps `gc` from sweeping the remote meanwhile.
 */
function createSending(objects: Objects, store: Store, tell: (message: string) => void) {
  let marker: Promise<Marker> | null = null;
  const end = async (): Promise<void> => {
    const before = marker;
    marker = null;
    // A marker that can't be removed keeps `gc` away for 15 minutes, and does no other harm.
    await before?.then((one) => one.end()).catch(() => undefined);
  };
  return {
    /** Removes the marker. The next `send` makes a new one. */
    end,
    /** Sends an entry as `sendEntry` does. Repeats it if the marker no longer stood at the end. */
    async send(key: ActionKey, force: boolean): Promise<Sent> {
      for (;;) {
        const held = (marker ??= beginPush(objects, tell));
        const raised = await held.catch((error: unknown) => {
          if (marker === held) marker = null;
          throw error;
        });
        const sent = await sendEntry(objects, store, key, force);
        if (raised.stands()) return sent;
        // This process was stopped for long, and a gc may have removed objects that it relied on.
        if (marker === held) await end();
      }
    },
  };
}

export interface Pulled extends Counts {
  /** How many entries the store already had. */
  readonly here: number;
  /** The entries that the store still lacks: the remote lacks them, or fetching them failed. */
  readonly lacking: readonly ActionKey[];
}

/**
 * Fetches those of the wanted entries that the store lacks. Waits for entries that another process
 * is making or fetching.
 */
export async function pullEntries(
  remote: Remote,
  store: Store,
  wanted: readonly { readonly key: ActionKey; readonly volatile: readonly string[] | null }[],
): Promise<Pulled> {
  let here = 0;
  const lacking: ActionKey[] = [];
  /** Fetches one entry, unless the store has it. Adds it to `lacking` if that fails. */
  const pull = async (key: ActionKey, volatile: readonly string[] | null): Promise<void> => {
    if (store.lookUp(key).state === 'hit') {
      here++;
      return;
    }
    for (;;) {
      if ((await remote.fetch(key, volatile)) !== null) return;
      if (!isLeased(store, key)) break;
      await sleep(POLL_MS);
    }
    if (store.lookUp(key).state !== 'hit') lacking.push(key);
  };
  await Promise.all(wanted.map(({ key, volatile }) => pull(key, volatile)));
  return { ...(await remote.settled()), here, lacking };
}

function isLeased(store: Store, key: ActionKey): boolean {
  const attempt = store.take(key);
  if ('by' in attempt) return true;
  attempt.held.release();
  return false;
}

/**
 * Sends entries to a remote. Throws `RemoteFault` if the remote does not take one of them.
 * @param force as in `sendEntry`
 * @param tell called if the push has to wait for a `gc` of the remote
 */
export async function pushEntries(
  objects: Objects,
  store: Store,
  keys: readonly ActionKey[],
  force: boolean,
  tell: (message: string) => void = () => undefined,
) {
  const queue = new PQueue({ concurrency: TRANSFERS });
  const sending = createSending(objects, store, tell);
  const results = await queue
    .addAll(
      keys.map((key) => async (): Promise<readonly [ActionKey, Sent]> => [
        key,
        await sending.send(key, force),
      ]),
    )
    .finally(() => sending.end());
  const sent = results.flatMap(([, one]) => (one.state === 'sent' ? [one.bytes] : []));
  return {
    sent: sent.length,
    /** How many entries the remote had already. */
    present: results.filter(([, { state }]) => state === 'present').length,
    bytes: sent.reduce((sum, bytes) => sum + bytes, 0),
    /** The entries that are missing or damaged here. */
    unsound: results.flatMap(([key, one]) =>
      one.state === 'unsound' ? [{ key, why: one.why }] : [],
    ),
  };
}

const FORMS = 'write file:FOLDER or s3://BUCKET/PREFIX';

/**
 * Returns the remote that a URI names.
 * @throws UserFault if the URI names none, or needs packages that are not installed
 */
export async function objectsAt(uri: string): Promise<Objects> {
  if (uri.startsWith('file:')) {
    const folder = uri.startsWith('file://') ? folderOfUrl(uri) : uri.slice('file:'.length);
    if (folder === '') throw new UserFault(`the remote "${uri}" names no folder`, FORMS);
    return folderObjects(path.resolve(folder), uri);
  }
  const [, bucket, prefix = ''] =
    /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*?))?\/?$/.exec(uri) ?? [];
  if (bucket === undefined)
    throw new UserFault(
      `${JSON.stringify(withoutSecrets(uri))} is not a remote`,
      uri.startsWith('s3:')
        ? `${FORMS}; credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE)`
        : FORMS,
    );
  const fault = prefix === '' ? null : nameFault(prefix);
  if (fault !== null) throw new UserFault(`the remote "${uri}" has a prefix that ${fault}`, FORMS);
  const { s3Objects } = await import('./s3.ts');
  return s3Objects(bucket, prefix, uri);
}

/** Returns the folder that a URL `file://…` names. Throws UserFault if it names none. */
function folderOfUrl(uri: string): string {
  try {
    return fileURLToPath(uri);
  } catch {
    throw new UserFault(`"${uri}" is not the URL of a folder`, FORMS);
  }
}

/** Returns a URI's beginning, without what stands before an `@`, where people put passwords. */
const withoutSecrets = (uri: string): string => uri.slice(0, 200).replace(/\/\/[^@/]*@/, '//…@');

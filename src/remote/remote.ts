/**
 * A remote beside a store: entries that are missing here are fetched, new ones can be sent. Keeps
 * count, bounds how many transfers run at once, and gives up on a remote that does not answer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import PQueue from 'p-queue';
import type { ActionKey } from '../plan/types.ts';
import type { Store } from '../store/store.ts';
import type { Entry } from '../store/types.ts';
import type { Objects } from './objects.ts';
import { interruptible, RemoteFault } from './objects.ts';
import { receiveEntry } from './receive.ts';
import type { Sent } from './send.ts';
import { sendEntry } from './send.ts';

/** How many entries are transferred at once. */
const TRANSFERS = 6;
/** After this many faults in a row, a run stops asking. */
const MOST_FAULTS = 3;
/** How often to look for an entry that another process is making or fetching. */
const POLL_MS = 250;

export interface Counts {
  readonly fetched: number;
  readonly sent: number;
  /** Bytes of the files that were fetched and sent. */
  readonly bytes: number;
  /** Entries that the remote holds but that were refused, or that it did not take. */
  readonly failed: number;
}

export interface Remote {
  readonly uri: string;
  /**
   * Returns the entry of `key` from the remote. Null if the remote has none, if what it has was
   * refused, or if another process has the lease. Asks only once for a key, and tells of a refusal.
   * @param volatile the stage's volatile files; null if the stage is not known
   */
  fetch(key: ActionKey, volatile: readonly string[] | null): Promise<Entry | null>;
  /** Sends an entry later; `settled` waits for it. A failure is told, not thrown. */
  sendSoon(key: ActionKey): void;
  /** Resolves when everything was sent. */
  settled(): Promise<Counts>;
}

export interface RemoteOptions {
  /** Called with what is refused or fails, a sentence each. */
  readonly tell: (message: string) => void;
  /** Called with what was transferred, for a log. */
  readonly log?: (message: string) => void;
  /** Once aborted, no more transfers begin, and those under way are ended. */
  readonly signal?: AbortSignal;
}

export function createRemote(given: Objects, store: Store, options: RemoteOptions): Remote {
  const { tell, log = () => undefined, signal } = options;
  const objects = signal === undefined ? given : interruptible(given, signal);
  const queue = new PQueue({ concurrency: TRANSFERS });
  const done = new Set<ActionKey>();
  /** Fetches under way. Stages with equal keys share one. */
  const running = new Map<ActionKey, Promise<Entry | null>>();
  const counts = { fetched: 0, sent: 0, bytes: 0, failed: 0 };
  let faults = 0;

  const isStopped = (): boolean => signal?.aborted === true;
  const short = (key: ActionKey): string => key.slice(0, 10);
  /** Runs a transfer. A fault of the remote is told, and returned as null. */
  const attempt = async <T>(key: ActionKey, transfer: () => Promise<T>): Promise<T | null> => {
    if (faults >= MOST_FAULTS || isStopped()) return null;
    try {
      const result = await transfer();
      faults = 0;
      return result;
    } catch (error) {
      if (!(error instanceof RemoteFault)) throw error;
      if (isStopped()) return null;
      counts.failed++;
      tell(`${short(key)}: ${error.message}`);
      if (++faults === MOST_FAULTS) tell(`${objects.uri} is not asked any more`);
      return null;
    }
  };

  const receive = async (key: ActionKey, volatile: readonly string[] | null) => {
    const lease = store.take(key);
    if ('by' in lease) return null;
    try {
      // Another process may have made it since the caller looked.
      const here = await store.lookUpShared(key, false);
      if (here.state === 'hit') return here.entry;
      if (here.state === 'damaged') store.moveAside(key);
      const received = await attempt(key, () => receiveEntry(objects, store, key, volatile));
      done.add(key);
      if (received?.state === 'refused') {
        counts.failed++;
        tell(`${short(key)}: what ${objects.uri} holds is refused: ${received.why}`);
      }
      if (received?.state !== 'received') return null;
      counts.fetched++;
      counts.bytes += received.bytes;
      log(`${key} fetched from ${objects.uri}, ${received.bytes} bytes`);
      return received.entry;
    } finally {
      lease.held.release();
    }
  };

  const send = async (key: ActionKey): Promise<void> => {
    const sent = await attempt(key, () => sendEntry(objects, store, key));
    if (sent?.state === 'unsound') {
      counts.failed++;
      tell(`${short(key)} was not sent: ${sent.why}`);
    }
    if (sent?.state !== 'sent') return;
    counts.sent++;
    counts.bytes += sent.bytes;
    log(`${key} sent to ${objects.uri}, ${sent.bytes} bytes`);
  };

  return {
    uri: objects.uri,
    async fetch(key, volatile) {
      if (done.has(key) || faults >= MOST_FAULTS) return null;
      const fetching =
        running.get(key) ??
        queue.add(() => receive(key, volatile)).finally(() => running.delete(key));
      running.set(key, fetching);
      return fetching;
    },
    sendSoon(key) {
      void queue
        .add(() => send(key))
        .catch((error: unknown) => {
          counts.failed++;
          tell(`${short(key)} was not sent: ${(error as Error).message}`);
        });
    },
    async settled() {
      await queue.onIdle();
      return counts;
    },
  };
}

export interface Pulled extends Counts {
  /** Entries that were here already. */
  readonly here: number;
  /** The keys of entries that neither the store nor the remote has. */
  readonly lacking: readonly ActionKey[];
}

/** Fetches entries, and waits for those that another process is making or fetching. */
export async function pullEntries(
  remote: Remote,
  store: Store,
  wanted: readonly { readonly key: ActionKey; readonly volatile: readonly string[] | null }[],
): Promise<Pulled> {
  let here = 0;
  const lacking: ActionKey[] = [];
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

/** Whether another process has the lease of a key now. */
function isLeased(store: Store, key: ActionKey): boolean {
  const attempt = store.take(key);
  if ('by' in attempt) return true;
  attempt.held.release();
  return false;
}

export interface Pushed {
  readonly sent: number;
  readonly present: number;
  readonly bytes: number;
  readonly unsound: readonly { readonly key: ActionKey; readonly why: string }[];
}

/** Sends entries. Throws `RemoteFault` if the remote does not take one. */
export async function pushEntries(
  objects: Objects,
  store: Store,
  keys: readonly ActionKey[],
  force: boolean,
): Promise<Pushed> {
  const queue = new PQueue({ concurrency: TRANSFERS });
  const results = await queue.addAll(
    keys.map((key) => async (): Promise<readonly [ActionKey, Sent]> => [
      key,
      await sendEntry(objects, store, key, force),
    ]),
  );
  const sent = results.flatMap(([, one]) => (one.state === 'sent' ? [one.bytes] : []));
  return {
    sent: sent.length,
    present: results.filter(([, { state }]) => state === 'present').length,
    bytes: sent.reduce((sum, bytes) => sum + bytes, 0),
    unsound: results.flatMap(([key, one]) =>
      one.state === 'unsound' ? [{ key, why: one.why }] : [],
    ),
  };
}

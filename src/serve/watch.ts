/**
 * Calls a reader when files of a folder change. The system's notifications are used where there are
 * any. A slow poll as well covers network file systems, which send none for changes on other hosts.
 */
import type { FSWatcher } from 'node:fs';
import { watch } from 'node:fs';

export interface Watching {
  /** Reads once more. Resolves when everything that was there at the call has been read. */
  readonly look: () => Promise<void>;
  close(): void;
}

export interface WatchOptions {
  readonly dirs: readonly string[];
  /** Calls never overlap. */
  readonly read: () => Promise<void>;
  readonly onFault: (error: unknown) => void;
  /** The shortest time between two reads, in milliseconds. */
  readonly leastMs?: number;
  /** The time between two reads without a notification, in milliseconds. */
  readonly lookMs?: number;
}

export const LEAST_MS = 250,
  LOOK_MS = 2000;

export function watchFolders({
  dirs,
  read,
  onFault,
  leastMs = LEAST_MS,
  lookMs = LOOK_MS,
}: WatchOptions): Watching {
  const watchers = dirs.map((dir) => noticesOf(dir, () => notice()));
  let reading: Promise<void> = Promise.resolve(),
    pending: Promise<void> | null = null,
    timer: NodeJS.Timeout | null = null,
    closed = false;
  const look = (): Promise<void> => {
    // One more read after the present one is enough for any number of calls.
    pending ??= reading.then(() => {
      pending = null;
      if (closed) return;
      reading = read().catch(onFault);
      return reading;
    });
    return pending;
  };
  const notice = (): void => {
    if (timer !== null || closed) return;
    timer = setTimeout(() => {
      timer = null;
      void look();
    }, leastMs);
    timer.unref();
  };
  const slow = setInterval(notice, lookMs).unref();
  return {
    look,
    close() {
      closed = true;
      clearInterval(slow);
      if (timer !== null) clearTimeout(timer);
      for (const watcher of watchers) watcher?.close();
    },
  };
}

/**
 * Returns null if the system can't watch the folder: it has too many watchers, or no such folder.
 */
function noticesOf(dir: string, onNotice: () => void): FSWatcher | null {
  try {
    const watcher = watch(dir, { persistent: false }, onNotice);
    watcher.on('error', () => watcher.close()); // the slow poll goes on
    return watcher;
  } catch {
    return null;
  }
}

/**
 * Reads files of runs and of a store that may be hostile: no link is followed below the root, only
 * regular files are opened, and no more is read than a limit allows. A folder is watched by the
 * system's notifications and by a slow poll, since network file systems send no notifications.
 */
import { constants, type FSWatcher, watch } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileInside } from '../base/untrusted/paths.ts';
import { isUnreadable, READ_AT_ONCE } from '../store/regular.ts';

/** The path of a file: a folder that is trusted, and the names of the folders and file below it. */
export interface Inside {
  readonly root: string;
  readonly names: readonly string[];
}

/** The flag that makes `open` refuse a link; 0 on Windows, which has no such flag. */
const NO_LINK = (constants.O_NOFOLLOW as number | undefined) ?? 0;

const GONE = ['ENOENT', 'ENOTDIR'];

/** Whether the error means that the file is missing, or is one that may not be read. */
export const isRefused = (error: unknown): boolean =>
  (error as Error | null)?.name === 'UserFault' ||
  GONE.includes((error as NodeJS.ErrnoException | null)?.code ?? '') ||
  isUnreadable(error);

/**
 * Opens a file. Returns null if it is missing or no regular file, or if the path to it contains a
 * link.
 */
async function openInside({ root, names }: Inside): Promise<FileHandle | null> {
  try {
    let at = root;
    for (const [i, name] of names.entries()) {
      at = fileInside(at, name, 'a file of a run');
      if (i < names.length - 1 && !(await lstat(at)).isDirectory()) return null;
    }
    const handle = await open(at, READ_AT_ONCE | NO_LINK);
    const isFile = await handle.stat().then(
      (stat) => stat.isFile(),
      () => false,
    );
    if (isFile) return handle;
    await handle.close();
    return null;
  } catch (error) {
    if (isRefused(error)) return null;
    throw error;
  }
}

/**
 * Returns the bytes of a file; null if it is missing, unreadable, or larger than `most` bytes.
 * @param file null for a file that can't be named, which counts as missing
 */
export async function bytesInside(file: Inside | null, most: number): Promise<Buffer | null> {
  const handle = file && (await openInside(file));
  if (handle === null) return null;
  try {
    const { size } = await handle.stat();
    if (size > most) return null;
    const buffer = Buffer.alloc(size);
    const { bytesRead } = await handle.read(buffer, 0, size, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    if (isRefused(error)) return null;
    throw error;
  } finally {
    await handle.close();
  }
}

/** As `bytesInside`, but returns text. */
export const readInside = async (file: Inside | null, most: number): Promise<string | null> =>
  (await bytesInside(file, most))?.toString('utf8') ?? null;

interface LineOptions {
  readonly file: Inside;
  /** Called with each whole line, without its line break. */
  readonly onLine: (line: string) => void;
  /** Called if the file was replaced or cut short, before it is read again from its start. */
  readonly onRestart: () => void;
  /** Called for each line that is left out because it is longer than `longest` bytes. */
  readonly onLong?: () => void;
  readonly longest: number;
  /** If the file is larger, only this many bytes at its end are read. */
  readonly most?: number;
  /** Called if the beginning of the file is left out. */
  readonly onCut?: () => void;
  /** What comes after this many lines is left out. */
  readonly mostLines?: number;
  /** Called if the file has more lines than `mostLines`. */
  readonly onFull?: () => void;
}

const CHUNK = 256 * 1024;
/** The number of lines after which other tasks have their turn. */
const LINES_AT_ONCE = 2000;
const NEWLINE = 10;

/**
 * Returns a function that reads what a file gained since the last call; nothing while the file is
 * missing. Calls must not overlap.
 */
export function lineReader(options: LineOptions): () => Promise<void> {
  const { file, onLine, longest, most, mostLines = Infinity } = options;
  let identity = '',
    offset = 0,
    /** The beginning of a line whose end has not been read. */
    rest: Buffer = Buffer.alloc(0),
    /** Whether the bytes up to the next line break belong to a line that is left out. */
    skipping = false,
    /** The number of line breaks that have been read. */
    lines = 0;
  /** Begins the file anew: at its start or, if it is larger, `most` bytes before its end. */
  const restart = (size: number): void => {
    const from = most === undefined ? 0 : Math.max(0, size - most);
    offset = from;
    rest = Buffer.alloc(0);
    lines = 0;
    skipping = from > 0; // the first line is cut
    if (from > 0) options.onCut?.();
  };
  /** Passes on the lines that end in these bytes, which follow those of the last call. */
  const passLines = async (bytes: Buffer): Promise<void> => {
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(NEWLINE, start);
      if (end < 0) break;
      if (lines >= mostLines) {
        lines = Infinity; // nothing more is read until the file is replaced
        options.onFull?.();
        return;
      }
      if (++lines % LINES_AT_ONCE === 0) await nextTurn();
      const line = bytes.subarray(start, end);
      start = end + 1;
      if (skipping) skipping = false;
      else if (rest.length + line.length > longest) options.onLong?.();
      else onLine(Buffer.concat([rest, line]).toString('utf8'));
      rest = Buffer.alloc(0);
    }
    if (skipping) return;
    rest = Buffer.concat([rest, bytes.subarray(start)]);
    if (rest.length <= longest) return;
    rest = Buffer.alloc(0);
    skipping = true;
    options.onLong?.();
  };
  return async () => {
    const handle = await openInside(file);
    if (handle === null) return;
    try {
      const { dev, ino, size } = await handle.stat();
      const found = `${dev}:${ino}`;
      if (found !== identity || size < offset) {
        if (identity !== '') options.onRestart();
        identity = found;
        restart(size);
      }
      const buffer = Buffer.alloc(Math.min(CHUNK, Math.max(0, size - offset)));
      while (offset < size && lines < Infinity) {
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset);
        if (bytesRead === 0) break;
        offset += bytesRead;
        await passLines(buffer.subarray(0, bytesRead));
      }
    } finally {
      await handle.close();
    }
  };
}

export interface Watching {
  /** Reads once more. Resolves when everything that was there at the call has been read. */
  readonly look: () => Promise<void>;
  close(): void;
}

interface WatchOptions {
  readonly dirs: readonly string[];
  /** Calls never overlap. */
  readonly read: () => Promise<void>;
  readonly onFault: (error: unknown) => void;
  /** The time from a change to the read, in milliseconds; changes in this time share the read. */
  readonly leastMs?: number;
  /** The time between two reads without a notification, in milliseconds. */
  readonly lookMs?: number | undefined;
}

/** Calls `read` after changes in the folders, and every `lookMs` in any case, until closed. */
export function watchFolders(options: WatchOptions): Watching {
  const { dirs, read, onFault, leastMs = 250, lookMs = 2000 } = options;
  const watchers = dirs.map((dir) => watchFolder(dir, () => notice()));
  let reading: Promise<void> = Promise.resolve(),
    pending: Promise<void> | null = null,
    timer: NodeJS.Timeout | null = null,
    closed = false;
  const look = (): Promise<void> => {
    // One more read after the current one is enough for any number of calls.
    pending ??= reading.then(() => {
      pending = null;
      if (closed) return;
      reading = read().catch(onFault);
      return reading;
    });
    return pending;
  };
  /** Plans a read after `leastMs`, unless one is planned already. */
  const notice = (): void => {
    if (timer !== null || closed) return;
    timer = setTimeout(() => {
      timer = null;
      void look();
    }, leastMs);
    timer.unref();
  };
  const slowPoll = setInterval(notice, lookMs).unref();
  return {
    look,
    close() {
      closed = true;
      clearInterval(slowPoll);
      if (timer !== null) clearTimeout(timer);
      for (const watcher of watchers) watcher?.close();
    },
  };
}

/** Calls `onNotice` after each change. Returns null if the system can't watch the folder. */
function watchFolder(dir: string, onNotice: () => void): FSWatcher | null {
  try {
    const watcher = watch(dir, { persistent: false }, onNotice);
    watcher.on('error', () => watcher.close()); // the slow poll goes on
    return watcher;
  } catch {
    return null;
  }
}

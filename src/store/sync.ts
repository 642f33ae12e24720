/**
 * Group commit: each entry is renamed into place at once, and one flush makes a batch of entries
 * durable. The flush is of the whole file system, or of each file if there are few. A power cut
 * before the flush may lose or tear the batch's entries. A torn entry is detected by its sizes (at
 * look-up) or by its digests (before a stage reads it), and is made again.
 */
import { spawn } from 'node:child_process';
import { closeSync, fsync, openSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { hasCode } from '../base/system-error.ts';
import { READ_AT_ONCE } from './regular.ts';

/**
 * How long a batch gathers entries. A power cut may cost the entries of this time; to flush more
 * often would delay the run, by some ms for each flush.
 */
const GATHER_MS = 250;

export type GroupCommit = ReturnType<typeof createGroupCommit>;

/** Up to this many files and folders are flushed one by one, which is faster than to run `sync`. */
const FEW = 64;

/** Error codes for a file or folder that can't be flushed by itself. */
const NO_FLUSH = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EBADF', 'EISDIR'];

/** Returns the paths of folders, of all that is in them, and of the folder directly above each. */
const listTrees = (dirs: readonly string[]): ReadonlySet<string> =>
  new Set(
    dirs.flatMap((dir) => [
      ...readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((name) =>
        path.join(dir, name),
      ),
      dir,
      path.dirname(dir),
    ]),
  );

/** Returns all folders above a path, the nearest first. */
function foldersAbove(place: string): string[] {
  const above: string[] = [];
  for (let dir = path.dirname(place); dir !== above.at(-1); dir = path.dirname(dir))
    above.push(dir);
  return above;
}

/**
 * Flushes the entries in `dirs` and the folders `above`, one by one. Returns whether all are known
 * to be durable: false if they are more than FEW files and folders, if one can't be flushed by
 * itself, or if an entry was moved away. Throws if the disk fails.
 */
async function flushFew(dirs: readonly string[], above: readonly string[]): Promise<boolean> {
  let paths: ReadonlySet<string>;
  try {
    paths = new Set([...listTrees(dirs), ...above]);
  } catch {
    return false; // another process has moved an entry aside
  }
  if (paths.size > FEW) return false;
  const flushed = await Promise.all([...paths].map(flushOne));
  return !flushed.includes(false);
}

/** Flushes one file or folder. Returns false if it can't be opened or flushed by itself. */
async function flushOne(file: string): Promise<boolean> {
  let handle: number;
  try {
    handle = openSync(file, READ_AT_ONCE);
  } catch {
    return false;
  }
  try {
    await fsyncAndClose(handle);
    return true;
  } catch (error) {
    if (hasCode(error, ...NO_FLUSH)) return false;
    throw error;
  }
}

/**
 * Flushes the file system of `root` with `sync -f`, which calls syncfs(2). Returns false if the
 * system is not Linux, or if `sync` is missing, lacks the option (busybox) or fails.
 */
const syncWhole = async (root: string): Promise<boolean> =>
  process.platform === 'linux' &&
  (await new Promise<boolean>((resolve) => {
    // Without pipes, because opening three of them for each flush would take longer.
    spawn('sync', ['-f', root], { stdio: 'ignore' })
      .once('error', () => resolve(false))
      .once('exit', (code) => resolve(code === 0));
  }));

async function fsyncAndClose(handle: number): Promise<void> {
  try {
    await promisify(fsync)(handle);
  } finally {
    closeSync(handle);
  }
}

/**
 * Makes the group commit of a store. Up to FEW files and folders are flushed one by one. More are
 * flushed together with the whole file system of `root`, or one by one where that is impossible.
 */
export function createGroupCommit(root: string) {
  let waiting: string[] = [];
  let failure: Error | undefined;
  /** Resolves at the end of all flushes that were begun; null if none is under way. */
  let chain: Promise<void> | null = null;
  let timer: NodeJS.Timeout | null = null;
  /**
   * The folders that a flush covers besides `listTrees` of the entries, because they may be new:
   * the root and, until the first flush, all folders above the root.
   */
  let above = [root, ...foldersAbove(root)];

  const commit = async (): Promise<void> => {
    const dirs = waiting;
    waiting = [];
    if (dirs.length === 0) return;
    if (dirs.length <= FEW && (await flushFew(dirs, above))) {
      above = [root];
      return;
    }
    if (await syncWhole(root)) return;
    for (const file of listTrees(dirs)) await fsyncAndClose(openSync(file, READ_AT_ONCE));
    // Folders above the store may be another user's, or on a file system that flushes no folder.
    for (const folder of above) await flushOne(folder);
    above = [root];
  };
  /** Flushes the waiting entries, after any flushes under way. A fault is kept in `failure`. */
  const start = (): Promise<void> => {
    if (timer) clearTimeout(timer);
    timer = null;
    // Begun at once if no flush is under way, since the caller may have something to do meanwhile.
    const begun = chain === null ? commit() : chain.then(commit);
    const ended = begun
      .catch((error: unknown) => {
        failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        if (chain === ended) chain = null;
      });
    chain = ended;
    return ended;
  };

  return {
    /** Adds an entry's folder to the batch that is flushed next. */
    add(dir: string): void {
      waiting.push(dir);
      timer ??= setTimeout(() => void start(), GATHER_MS);
    },
    /** Resolves when everything added so far is durable. Throws whatever a flush threw. */
    async flush(): Promise<void> {
      await start();
      if (failure !== undefined) throw failure;
    },
  };
}

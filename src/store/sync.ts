/**
 * Group commit: entries are renamed into place at once, and one flush makes a batch of them
 * durable. A power cut before the flush may lose or tear them. A torn entry is detected by its
 * sizes (at look-up) or by its digests (before a stage reads it), and is made again.
 */
import { spawn } from 'node:child_process';
import { closeSync, fsync, openSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { READ_AT_ONCE } from './regular.ts';

const fsyncOf = promisify(fsync);

/**
 * How long a batch gathers entries before its flush. A power cut may cost this much work. Starting
 * a flush delays the run by some milliseconds.
 */
const GATHER_MS = 250;

export interface GroupCommit {
  /** Marks a folder as written: it will be flushed soon. */
  add(dir: string): void;
  /** Resolves when everything added so far is durable. Throws whatever a flush threw. */
  flush(): Promise<void>;
}

/**
 * Flushes the file system of `root` with `sync -f`, which is syncfs(2). Returns false if that is
 * missing (another system, busybox) or fails.
 */
const syncWhole = async (root: string): Promise<boolean> =>
  process.platform === 'linux' &&
  (await new Promise<boolean>((resolve) => {
    // Without pipes, because opening three of them for each flush would take longer.
    spawn('sync', ['-f', root], { stdio: 'ignore' })
      .once('error', () => resolve(false))
      .once('exit', (code) => resolve(code === 0));
  }));

async function fsyncPath(file: string): Promise<void> {
  // a folder, or a file of an entry
  const handle = openSync(file, READ_AT_ONCE);
  try {
    await fsyncOf(handle);
  } finally {
    closeSync(handle);
  }
}

async function fsyncTree(dir: string): Promise<void> {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const full = path.join(dir, entry.name);
    await (entry.isDirectory() ? fsyncTree(full) : fsyncPath(full));
  }
  await fsyncPath(dir);
}

/**
 * @param root the store's folder. One `syncfs` of its file system covers every entry. Where that is
 *   not available, each file is flushed.
 */
export function createGroupCommit(root: string): GroupCommit {
  let waiting: string[] = [];
  let failure: Error | undefined;
  let chain: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | null = null;

  const commit = async (): Promise<void> => {
    const dirs = waiting;
    waiting = [];
    if (dirs.length === 0) return;
    if (await syncWhole(root)) return;
    // Each file is flushed, which fails again if the disk does.
    for (const dir of dirs) await fsyncTree(dir);
    for (const parent of new Set(dirs.map((dir) => path.dirname(dir)))) await fsyncPath(parent);
  };
  const start = (): Promise<void> => {
    if (timer) clearTimeout(timer);
    timer = null;
    chain = chain.then(commit).catch((error: unknown) => {
      failure ??= error instanceof Error ? error : new Error(String(error));
    });
    return chain;
  };

  return {
    add(dir) {
      waiting.push(dir);
      timer ??= setTimeout(() => void start(), GATHER_MS);
    },
    async flush() {
      await start();
      if (failure !== undefined) throw failure;
    },
  };
}

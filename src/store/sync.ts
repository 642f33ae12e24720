/**
 * Group commit: entries are renamed into place at once, and a single flush makes a batch of them durable. A power cut
 * before the flush may lose or tear them; a torn entry fails its sizes (checked at look-up) or its digests (checked
 * before a stage reads it), and is made again.
 */
import { execFile } from 'node:child_process';
import { closeSync, constants, fsync, openSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile),
  fsyncOf = promisify(fsync);

/** How long a batch gathers entries before its flush, and so what a power cut may cost; starting a flush holds up the run for some milliseconds. */
const GATHER_MS = 250;

export interface GroupCommit {
  /** Marks a folder as written: a flush will follow soon. */
  add(dir: string): void;
  /** Resolves when everything added so far is durable; throws what a flush threw. */
  flush(): Promise<void>;
}

async function fsyncPath(file: string): Promise<void> {
  const handle = openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)); // a folder, or a file of an entry
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

/** @param root the store: one `syncfs` of its file system covers every entry; where that isn't to be had, each file is flushed. */
export function createGroupCommit(root: string): GroupCommit {
  let waiting: string[] = [];
  let failure: unknown;
  let chain: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | null = null;

  const commit = async (): Promise<void> => {
    const dirs = waiting;
    waiting = [];
    if (dirs.length === 0) return;
    // `sync -f` is syncfs(2). Not there (another system, busybox), or it failed: file by file, which fails again if the disk does.
    const whole =
      process.platform === 'linux' &&
      (await run('sync', ['-f', root]).then(
        () => true,
        () => false,
      ));
    if (whole) return;
    for (const dir of dirs) await fsyncTree(dir);
    for (const parent of new Set(dirs.map((dir) => path.dirname(dir)))) await fsyncPath(parent);
  };
  const start = (): Promise<void> => {
    if (timer) clearTimeout(timer);
    timer = null;
    chain = chain.then(commit).catch((error: unknown) => {
      failure ??= error;
    });
    return chain;
  };

  return {
    add(dir) {
      waiting.push(dir);
      timer ??= setTimeout(start, GATHER_MS);
    },
    async flush() {
      await start();
      if (failure !== undefined) throw failure;
    },
  };
}

/** Makes interpreters of Python for tests, from the one that `npm run test:torch` names. */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { TrainerHooks } from '../../src/science/training/session.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

/** The Python with torch. */
export const real = process.env['DOSIMETER_PYTHON'] ?? '';
if (real === '') throw new Error('DOSIMETER_PYTHON names no Python; `npm run test:torch` does');

/** The hooks of a training that only records each step's loss. */
export const recordingInto = (losses: number[]): TrainerHooks => ({
  onStep: ({ loss }) => Promise.resolve(void losses.push(loss)),
  wants: () => false,
  see: () => Promise.resolve(undefined),
  signal: new AbortController().signal,
});

export const temporary = (): string => mkdtempSync(join(tmpdir(), 'dosimeter-torch-'));

/** Returns the path of a shell script. */
export function program(name: string, body: string, dir = temporary()): string {
  const file = join(dir, name);
  writeFileSync(file, `#!/bin/sh\n${body}\n`);
  chmodSync(file, 0o755);
  return file;
}

/** A Python that runs stand_in.py in front of what it is given. */
export const standInPython = (): string =>
  program('python', `exec ${real} ${join(REPOSITORY, 'test', 'torch', 'stand_in.py')} "$@"`);

export interface Life {
  /** The process's id, once it has begun. */
  readonly pid: Promise<number>;
  /** Resolves when it has begun a request. */
  readonly begun: Promise<void>;
  /** Resolves when the process is no more, whoever its parent is by then. */
  readonly ended: Promise<void>;
}

/** Makes a named pipe that the process of `stand_in.py` holds open while it lives. */
export function watchedLife(): { readonly fifo: string; readonly life: Life } {
  const fifo = join(temporary(), 'life');
  execFileSync('mkfifo', [fifo]);
  const lines = createInterface({
    input: spawn('cat', [fifo], { stdio: ['ignore', 'pipe', 'ignore'] }).stdout,
  });
  return {
    fifo,
    life: {
      pid: new Promise((resolve) => lines.once('line', (line) => resolve(Number(line)))),
      begun: new Promise((resolve) =>
        lines.on('line', (line) => {
          if (line === 'begun') resolve();
        }),
      ),
      ended: new Promise((resolve) => lines.once('close', resolve)),
    },
  };
}

export interface Script {
  readonly process: ReturnType<typeof spawn>;
  readonly ended: Promise<{
    readonly code: number | null;
    readonly stdout: string;
    readonly stderr: string;
  }>;
  /** Resolves when `what` does; rejects if the process ends first. */
  reaches(what: Promise<unknown>): Promise<void>;
}

/** Starts a module in a process of its own; `torchWorker` and `open` are there. */
export function script(body: string, env: Readonly<Record<string, string>>): Script {
  const file = join(temporary(), 'script.mts');
  writeFileSync(
    file,
    `import { torchWorker } from '${REPOSITORY}src/torch/worker.ts';
     const open = (worker: any, what: string) => worker.ask('open', { class: what });
     ${body}`,
  );
  const child = spawn(process.execPath, ['--import', 'tsx', file], {
    cwd: REPOSITORY,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const ended = Promise.all([exit, text(child.stdout), text(child.stderr)]).then(
    ([code, stdout, stderr]) => ({ code, stdout, stderr }),
  );
  return {
    process: child,
    ended,
    reaches: (what) =>
      Promise.race([
        what.then(() => undefined),
        ended.then(({ stderr }) => {
          throw new Error(`it ended: ${stderr}`);
        }),
      ]),
  };
}

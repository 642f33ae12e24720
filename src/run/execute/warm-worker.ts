/**
 * A worker process as the scheduler sees it: how it starts, which jobs it suits, and how it ends.
 */
import type { ChildProcessByStdio } from 'node:child_process';
import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { MARK } from './offspring.ts';
import type { Job } from './protocol.ts';

export interface WarmWorker {
  readonly process: ChildProcessByStdio<null, Readable, Readable>;
  /** The number of cores that the worker was started with. */
  readonly cpu: number;
  /** The GPUs that the worker was started with, as `Job.gpus`; null if none were named. */
  readonly gpus: readonly string[] | null;
  /**
   * A mark in the environment of the worker and of every process that it starts (`offspring.ts`).
   */
  readonly mark: string;
  /** Resolves when the worker listens, or has ended. */
  readonly ready: Promise<void>;
  /** The stage kind that the worker ran last. Its caches suit that kind best. */
  lastKind: string;
  /** Whether the worker has loaded a backend. */
  compute: boolean;
  /** Whether the worker must not be used again. */
  spent: boolean;
  /** Called when the process ends. */
  onEnd: () => void;
  ended: { readonly code: number | null; readonly signal: string | null } | null;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The environment variables that set the number of threads. TensorFlow reads them when it is
 * loaded, so a worker keeps its number of threads for life.
 */
const threads = (cpu: number): Record<string, string> => ({
  TF_NUM_INTRAOP_THREADS: String(cpu),
  TF_NUM_INTEROP_THREADS: '1',
  OMP_NUM_THREADS: String(cpu),
  DOSIMETER_THREADS: String(cpu),
});

const BEFORE: Environment = {
  TF_CPP_MIN_LOG_LEVEL: '1',
  // With a single arena, one thread can use what another has freed: 2% less memory (glibc).
  MALLOC_ARENA_MAX: '1',
  // Otherwise TensorFlow takes all of a GPU's memory at once and leaves none to other processes on
  // it.
  TF_FORCE_GPU_ALLOW_GROWTH: 'true',
};

/** @param module the worker's module: `dist/worker.js`, or `worker.ts` under a loader */
export function startWorker(
  module: string,
  env: Environment,
  { cpu, gpus = null }: { readonly cpu: number; readonly gpus?: Job['gpus'] | null },
): WarmWorker {
  const mark = randomUUID();
  const child = fork(module, [], {
    env: {
      ...BEFORE,
      ...env,
      ...threads(cpu),
      ...(gpus === null ? {} : { CUDA_VISIBLE_DEVICES: gpus.join() }),
      [MARK]: mark,
    },
    // A worker in TypeScript (tests, `tsx`) needs the loader; the built one needs nothing.
    execArgv: module.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true, // it leads a process group, so that what it forks ends with it
  });
  const ready = new Promise<void>((resolve) => {
    child.once('message', () => resolve());
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const worker: WarmWorker = {
    process: child as ChildProcessByStdio<null, Readable, Readable>, // by `stdio` above
    cpu,
    gpus,
    mark,
    ready,
    lastKind: '',
    compute: false,
    spent: false,
    onEnd: () => undefined,
    ended: null,
  };
  const end = (code: number | null, signal: string | null): void => {
    worker.ended ??= { code, signal };
    worker.onEnd();
  };
  child.on('exit', end);
  child.on('error', () => end(null, 'a failure to start it'));
  return worker;
}

/** Ends the worker and its process group at once. */
export function killWorker(worker: WarmWorker): void {
  const { pid } = worker.process;
  if (worker.ended || pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Resolves when the worker has ended. */
export function ending(worker: WarmWorker): Promise<void> {
  return new Promise((resolve) => {
    if (worker.ended) resolve();
    else worker.process.once('exit', () => resolve());
  });
}

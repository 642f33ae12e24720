/** Warm worker processes. How many run at once is the scheduler's affair; the pool hands out one that fits, or starts it. */
import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Executor } from '../api/executor.ts';
import { endMarked, MARK } from './offspring.ts';
import type { FromWorker, Job, JobResult, PackedJob, ToWorker } from './protocol.ts';

export interface PoolOptions {
  /** The worker's module: `dist/worker.js`, or `worker.ts` under a loader. */
  readonly module: string;
  readonly limit: number;
  /** How long an aborted stage may tidy up. */
  readonly graceMs?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

interface Warm {
  readonly process: ChildProcess;
  readonly cpu: number;
  /** `Job.gpus` that it was started with; null: left out. */
  readonly gpus: readonly string[] | null;
  readonly ready: Promise<void>;
  /** The stage kind it ran last: its caches suit that kind best. */
  lastKind: string;
  compute: boolean;
  /** It is about to leave. */
  spent: boolean;
  onEnd: () => void;
  ended: { readonly code: number | null; readonly signal: string | null } | null;
}

/** TensorFlow reads these when it is loaded, so a worker has its number of threads for life. */
const threads = (cpu: number): Record<string, string> => ({
  TF_NUM_INTRAOP_THREADS: String(cpu),
  TF_NUM_INTEROP_THREADS: '1',
  OMP_NUM_THREADS: String(cpu),
  DOSIMETER_THREADS: String(cpu),
});

export function createPool({
  module,
  limit,
  graceMs = 5_000,
  env = process.env,
}: PoolOptions): Executor {
  const all = new Set<Warm>();
  const idle: Warm[] = [];
  const marks = new Set<string>();

  const start = (cpu: number, gpus: readonly string[] | null): Warm => {
    const mark = randomUUID();
    marks.add(mark);
    const child = fork(module, [], {
      // One arena: what one thread frees another can use, a fiftieth less memory (glibc).
      // TensorFlow would take the whole of a GPU's memory at once, and leave none to whoever else is on it.
      env: {
        TF_CPP_MIN_LOG_LEVEL: '1',
        MALLOC_ARENA_MAX: '1',
        TF_FORCE_GPU_ALLOW_GROWTH: 'true',
        ...env,
        ...threads(cpu),
        ...(gpus === null ? {} : { CUDA_VISIBLE_DEVICES: gpus.join() }),
        [MARK]: mark,
      },
      // Under a TypeScript loader (tests, `tsx`) the worker needs it as well; the built one needs nothing.
      execArgv: module.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
    const ready = new Promise<void>((resolve) => {
      child.once('message', () => resolve());
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
    const warm: Warm = {
      process: child,
      cpu,
      gpus,
      ready,
      lastKind: '',
      compute: false,
      spent: false,
      onEnd: () => undefined,
      ended: null,
    };
    const end = (code: number | null, signal: string | null): void => {
      warm.ended ??= { code, signal };
      warm.onEnd();
      all.delete(warm);
      const at = idle.indexOf(warm);
      if (at >= 0) idle.splice(at, 1);
    };
    child.on('exit', end);
    child.on('error', () => end(null, 'it could not be started'));
    all.add(warm);
    return warm;
  };

  const kill = (warm: Warm): void => {
    const { pid } = warm.process;
    if (warm.ended || pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };

  const choose = (job: Job): Warm => {
    const { cpu, gpus = null } = job;
    const fits = (warm: Warm): boolean =>
      (!job.compute || warm.cpu === cpu) && warm.gpus?.join() === gpus?.join();
    const best = idle.findLastIndex((warm) => fits(warm) && warm.lastKind === job.stage.name);
    const at =
      best >= 0 ? best : idle.findLastIndex((warm) => fits(warm) && warm.compute === job.compute);
    const any = at >= 0 ? at : idle.findLastIndex(fits);
    if (any >= 0) return idle.splice(any, 1)[0]!;
    if (all.size >= limit) {
      const oldest = idle.shift();
      if (oldest) kill(oldest);
    }
    // What an idle worker holds of a GPU's memory is in the way of the one that is given the GPU.
    if (gpus !== null)
      for (const warm of idle.filter((one) => one.gpus?.some((gpu) => gpus.includes(gpu)))) {
        idle.splice(idle.indexOf(warm), 1);
        kill(warm);
      }
    return start(cpu, gpus);
  };

  /** Sends the jobs and resolves each as its result comes; all of them when the process goes. */
  const carryOut = (
    warm: Warm,
    pack: readonly PackedJob[],
    free: () => void,
  ): readonly Promise<JobResult>[] => {
    const { process: child } = warm;
    const open = new Map<number, (result: JobResult) => void>();
    const timers: NodeJS.Timeout[] = [];
    const output = (chunk: Buffer): void => {
      for (const member of open.keys()) pack[member]!.hooks.onOutput(chunk.toString('utf8'));
    };
    const tell = (message: ToWorker): void => {
      if (child.connected) child.send(message, () => undefined);
    };
    const aborts = pack.map((_, member) => (): void => {
      tell({ type: 'abort', member });
      timers.push(
        setTimeout(() => {
          if (open.has(member)) kill(warm);
        }, graceMs),
      );
    });
    const end = (): void => {
      timers.forEach(clearTimeout);
      warm.onEnd = () => undefined;
      child.stdout!.off('data', output);
      child.stderr!.off('data', output);
      child.removeAllListeners('message');
      // Unread pipes would fill and block the worker.
      child.stdout!.resume();
      child.stderr!.resume();
      free();
    };
    const settle = async (member: number, result: JobResult): Promise<void> => {
      const resolve = open.get(member);
      if (!resolve) return;
      // The pipe is written before the result is sent: let what is in it arrive.
      await new Promise((next) => setImmediate(() => setImmediate(next)));
      if (!open.delete(member)) return;
      pack[member]!.signal.removeEventListener('abort', aborts[member]!);
      if (open.size === 0) end();
      resolve(result);
    };
    const onExit = (): void => {
      for (const member of [...open.keys()])
        void settle(member, { type: 'exit', ...(warm.ended ?? { code: null, signal: null }) });
    };
    const listen = (message: FromWorker): void => {
      if (message.type === 'ready') return;
      const { hooks } = pack[message.member]!;
      if (message.type === 'log') hooks.onLog(message.message);
      else if (message.type === 'progress')
        hooks.onProgress(message.done, message.total, message.unit);
      else {
        if (message.leaving) warm.spent = true;
        void settle(message.member, message.result);
      }
    };
    const results = pack.map(
      (_, member) =>
        new Promise<JobResult>((resolve) => {
          open.set(member, resolve);
        }),
    );
    child.stdout!.on('data', output);
    child.stderr!.on('data', output);
    void warm.ready.then(() => {
      if (warm.ended) {
        onExit();
        return;
      }
      // Its last output arrives after the exit ('close' would wait for every grandchild that keeps the pipe).
      warm.onEnd = () => setTimeout(onExit, 20);
      child.on('message', listen);
      tell({ type: 'run', jobs: pack.map(({ job }) => job) });
      pack.forEach(({ signal }, member) => {
        if (signal.aborted) aborts[member]!();
        else signal.addEventListener('abort', aborts[member]!, { once: true });
      });
    });
    return results;
  };

  const runPack = (pack: readonly PackedJob[]): readonly Promise<JobResult>[] => {
    const { job } = pack[0]!;
    const warm = choose(job);
    return carryOut(warm, pack, () => {
      warm.lastKind = job.stage.name;
      warm.compute ||= job.compute;
      if (warm.spent) kill(warm);
      else if (!warm.ended) idle.push(warm);
    });
  };

  return {
    runPack,
    run: (job, hooks, signal) => runPack([{ job, hooks, signal }])[0]!,
    forget() {
      for (const warm of all) warm.spent = true; // one that is busy ends after its job
      for (const warm of idle.splice(0)) kill(warm);
    },
    async close() {
      await Promise.all(
        [...all].map(
          (warm) =>
            new Promise<void>((resolve) => {
              if (warm.ended) {
                resolve();
                return;
              }
              warm.process.once('exit', () => resolve());
              kill(warm);
            }),
        ),
      );
      endMarked(marks);
      marks.clear();
    },
  };
}

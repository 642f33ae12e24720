/**
 * Warm worker processes. The caller decides how many run at once; the pool hands out a worker that
 * fits a job, or starts one.
 */
import { type ChildProcessByStdio, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Executor, Job, JobResult, PackedJob } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { at } from '../../base/lookup.ts';
import { endMarked, WORKER_MARK } from '../../base/processes.ts';
import { hasCode } from '../../base/system-error.ts';

/**
 * A message to a worker, as JSON over the channel of `child_process.fork`. `job` of `abort` is an
 * index of the `jobs` that run.
 */
export type ToWorker =
  | { readonly type: 'run'; readonly jobs: readonly Job[] }
  | { readonly type: 'abort'; readonly job: number };

/**
 * A message from a worker. `job`: an index of the `jobs` that run. `leaving`: the process must not
 * be used again.
 */
export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'log'; readonly job: number; readonly message: string }
  | {
      readonly type: 'progress';
      readonly job: number;
      readonly done: number;
      readonly total: number;
      readonly unit: string;
    }
  | {
      readonly type: 'result';
      readonly job: number;
      readonly result: Exclude<JobResult, { type: 'exit' }>;
      readonly leaving?: true;
    };

interface WarmWorker {
  readonly process: ChildProcessByStdio<null, Readable, Readable>;
  readonly cpu: number;
  /** The GPUs that it sees (`Job.gpus`); null if its jobs name none. */
  readonly gpus: readonly string[] | null;
  /** The value of WORKER_MARK for the worker and all that it starts. */
  readonly mark: string;
  /** Resolves when the worker listens, or has ended. */
  readonly ready: Promise<void>;
  /** The stage kind that ran last, which the worker's caches suit best. */
  lastKind: string;
  /** Whether a job that computes has run in it, so that it has loaded a backend. */
  compute: boolean;
  /** Whether it must not be used again. */
  spent: boolean;
  /** Called when the process ends. */
  onEnd: () => void;
  ended: { readonly code: number | null; readonly signal: string | null } | null;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Returns the variables that set a worker's number of threads. TensorFlow reads them when it is
 * loaded, so a worker never changes its number of threads.
 */
const threadVariables = (cpu: number): Record<string, string> => ({
  TF_NUM_INTRAOP_THREADS: String(cpu),
  TF_NUM_INTEROP_THREADS: '1',
  OMP_NUM_THREADS: String(cpu),
  DOSIMETER_THREADS: String(cpu),
});

const DEFAULT_ENV: Environment = {
  TF_CPP_MIN_LOG_LEVEL: '1',
  // With a single arena, one thread can use what another has freed: 2% less memory (glibc).
  MALLOC_ARENA_MAX: '1',
  // Else TensorFlow takes all of a GPU's memory at once, and other processes on it get none.
  TF_FORCE_GPU_ALLOW_GROWTH: 'true',
};

/**
 * Starts a worker.
 * @param cpu its number of threads
 * @param gpus the GPUs that it may see; null to leave that as `env` has it
 */
function startWorker(
  module: string,
  env: Environment,
  { cpu, gpus = null }: { readonly cpu: number; readonly gpus?: Job['gpus'] | null },
): WarmWorker {
  const mark = randomUUID();
  const child = fork(module, [], {
    env: {
      ...DEFAULT_ENV,
      ...env,
      ...threadVariables(cpu),
      ...defined({ CUDA_VISIBLE_DEVICES: gpus?.join() }),
      [WORKER_MARK]: mark,
    },
    // A worker in TypeScript (tests, `tsx`) needs the loader; the built one needs nothing.
    execArgv: module.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true, // the worker leads a process group, which is ended as a whole
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

/** Kills a worker with its process group, unless it has ended. */
function killWorker(worker: WarmWorker): void {
  const { pid } = worker.process;
  if (worker.ended || pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

function waitForExit(worker: WarmWorker): Promise<void> {
  return new Promise((resolve) => {
    if (worker.ended) resolve();
    else worker.process.once('exit', () => resolve());
  });
}

export interface PoolOptions {
  /** The path of the worker's module: `dist/worker.js`, or `worker.ts` under a loader. */
  readonly module: string;
  /** How many workers may live before an idle one is ended to start another. */
  readonly limit: number;
  /** How long an aborted stage may take to end before its worker is killed. */
  readonly graceMs?: number;
  readonly env?: Environment;
}

export function createPool({
  graceMs = 5_000,
  env = process.env,
  ...options
}: PoolOptions): Executor {
  const workers = new Workers({ ...options, env });
  /** Runs a pack's jobs at once in one worker. */
  const runPack = (pack: readonly PackedJob[]): readonly Promise<JobResult>[] => {
    const { job } = at(pack, 0),
      worker = workers.take(job),
      results = sendJobs(worker, pack, graceMs);
    let left = results.length;
    return results.map(async (result) => {
      const ended = await result;
      if (--left === 0) workers.giveBack(worker, job);
      return ended;
    });
  };
  return {
    run: (job, hooks, signal) => at(runPack([{ job, hooks, signal }]), 0),
    runPack,
    forget: () => workers.forget(),
    close: () => workers.close(),
  };
}

class Workers {
  readonly #all = new Set<WarmWorker>();
  /** The idle workers, in the order in which they became idle. */
  readonly #idle: WarmWorker[] = [];
  /** The marks of all workers ever started. Processes that a worker left behind have its mark. */
  readonly #marks = new Set<string>();

  constructor(readonly options: Pick<Required<PoolOptions>, 'module' | 'limit' | 'env'>) {}

  /**
   * Returns the idle worker that suits the job best, or starts one. Before it starts one, ends an
   * idle worker if the limit is reached, and all idle workers that hold the job's GPUs.
   */
  take(job: Job): WarmWorker {
    const { cpu, gpus = null } = job;
    const fits = (worker: WarmWorker): boolean =>
      (!job.compute || worker.cpu === cpu) && worker.gpus?.join() === gpus?.join();
    const best =
      this.#idle.findLast((worker) => fits(worker) && worker.lastKind === job.stage.name) ??
      this.#idle.findLast((worker) => fits(worker) && worker.compute === job.compute) ??
      this.#idle.findLast(fits);
    if (best !== undefined) {
      this.#removeIdle(best);
      return best;
    }
    if (this.#all.size >= this.options.limit) {
      const oldest = this.#idle.shift();
      if (oldest) killWorker(oldest);
    }
    // While an idle worker is alive, its GPU memory is not free for the worker that gets the GPU.
    const isInTheWay = (worker: WarmWorker): boolean =>
      worker.gpus?.some((gpu) => gpus?.includes(gpu)) === true;
    for (const worker of this.#idle.filter(isInTheWay)) {
      this.#removeIdle(worker);
      killWorker(worker);
    }
    return this.#start(cpu, gpus);
  }

  /** Keeps a worker for further jobs, unless it must not be used again. @param job its last job */
  giveBack(worker: WarmWorker, job: Job): void {
    worker.lastKind = job.stage.name;
    worker.compute ||= job.compute;
    if (worker.spent) killWorker(worker);
    else if (!worker.ended) this.#idle.push(worker);
  }

  /** Ends the idle workers now, the busy ones after their job. */
  forget(): void {
    for (const worker of this.#all) worker.spent = true;
    for (const worker of this.#idle.splice(0)) killWorker(worker);
  }

  /** Kills every worker, waits for its end, and kills processes that it left behind. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#all].map((worker) => {
        const ended = waitForExit(worker);
        killWorker(worker);
        return ended;
      }),
    );
    endMarked(WORKER_MARK, this.#marks);
    this.#marks.clear();
  }

  #start(cpu: number, gpus: readonly string[] | null): WarmWorker {
    const { module, env } = this.options;
    const worker = startWorker(module, env, { cpu, gpus });
    this.#marks.add(worker.mark);
    this.#all.add(worker);
    const onLeft = (): void => {
      this.#all.delete(worker);
      this.#removeIdle(worker);
    };
    worker.process.on('exit', onLeft);
    worker.process.on('error', onLeft);
    return worker;
  }

  /** Takes a worker from the idle ones; does nothing if it is not idle. */
  #removeIdle(worker: WarmWorker): void {
    const at = this.#idle.indexOf(worker);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}

/** How long after its exit a worker's last output may arrive. */
const LAST_OUTPUT_MS = 20;

/** Sends a pack's jobs to a worker. Returns a promise of each result, which is never rejected. */
function sendJobs(
  worker: WarmWorker,
  pack: readonly PackedJob[],
  graceMs: number,
): readonly Promise<JobResult>[] {
  const { process: child } = worker;
  let left = pack.length;
  const jobs = pack.map((packed, i) =>
    followJob(worker, packed, i, graceMs, () => {
      if (--left === 0) stopListening();
    }),
  );
  // Each job of a pack gets all that the process prints: which job printed it can't be told.
  const onOutput = (chunk: Buffer): void => {
    for (const { hooks } of pack) hooks.onOutput(chunk.toString('utf8'));
  };
  /** Ends the jobs that have no result yet, because their process has ended. */
  const onExit = (): void => {
    for (const { end } of jobs)
      void end({ type: 'exit', ...(worker.ended ?? { code: null, signal: null }) });
  };
  child.stdout.on('data', onOutput);
  child.stderr.on('data', onOutput);
  /** Called once all results are in. Output that still comes is thrown away. */
  const stopListening = (): void => {
    worker.onEnd = () => undefined;
    child.removeAllListeners('message');
    for (const stream of [child.stdout, child.stderr]) {
      stream.off('data', onOutput);
      stream.resume(); // an unread pipe would fill and block the worker
    }
  };
  void worker.ready.then(() => {
    if (worker.ended) {
      onExit();
      return;
    }
    // Not at the event 'close', which would wait for every grandchild that keeps the pipe open.
    worker.onEnd = () => setTimeout(onExit, LAST_OUTPUT_MS);
    child.on('message', (message: FromWorker) => {
      if (message.type === 'ready') return;
      if (message.type === 'result' && message.leaving) worker.spent = true;
      jobs[message.job]?.receive(message);
    });
    send(worker, { type: 'run', jobs: pack.map(({ job }) => job) });
    for (const { begin } of jobs) begin();
  });
  return jobs.map(({ result }) => result);
}

/**
 * Follows one job of a worker: passes on its messages, and resolves its result.
 * @param index the job's place among those that run at once
 * @param onEnded called before the result is resolved
 */
function followJob(
  worker: WarmWorker,
  { hooks, signal }: PackedJob,
  index: number,
  graceMs: number,
  onEnded: () => void,
) {
  let timer: NodeJS.Timeout | undefined,
    ended = false,
    resolve: (result: JobResult) => void = () => undefined;
  const onAbort = (): void => {
    send(worker, { type: 'abort', job: index });
    timer = setTimeout(() => killWorker(worker), graceMs);
  };
  /** Resolves the job's result. Only the first call counts. */
  const end = async (result: JobResult): Promise<void> => {
    if (ended) return;
    ended = true;
    await waitForOutput();
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    onEnded();
    resolve(result);
  };
  return {
    result: new Promise<JobResult>((settle) => {
      resolve = settle;
    }),
    /** After this call, an abort of the job's signal tells the worker to stop the job. */
    begin: (): void => {
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    },
    /** Passes on a message of the worker about this job; a result ends the job. */
    receive: (message: Exclude<FromWorker, { type: 'ready' }>): void => {
      if (message.type === 'log') hooks.onLog(message.message);
      else if (message.type === 'progress')
        hooks.onProgress(message.done, message.total, message.unit);
      else void end(message.result);
    },
    end,
  };
}

/** Sends a message to a worker, unless it has ended. */
function send({ process: child }: WarmWorker, message: ToWorker): void {
  if (child.connected) child.send(message, () => undefined);
}

/** Resolves once what a worker printed before its result has come through the pipes. */
const waitForOutput = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(() => setImmediate(resolve));
  });

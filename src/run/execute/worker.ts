/**
 * A worker process. It performs one job, or one pack, after another and stays warm in between, so
 * that a backend and a model are loaded once. Whatever a plugin does to it (throw, exit, hang,
 * print without end) stays within this process.
 */
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Job, JobResult, StageDescriptor, Warning } from '../../api.ts';
import type { PluginModule } from '../../api/executor.ts';
import { defined } from '../../base/defined.ts';
import { meeting, type Seat } from '../../base/meeting.ts';
import { endChildren, endMarked, leftText, WORKER_MARK } from '../../base/processes.ts';
import type { BackendInfo } from '../../tensor/backend.ts';
import type { CompiledStatistics } from '../../tensor/compiled/compiled.ts';
import { doneResult, openContext, thrownResult } from './perform.ts';
import type { FromWorker, ToWorker } from './pool.ts';

/** A worker never reports its own exit. */
type WorkerResult = Exclude<JobResult, { type: 'exit' }>;

const home = process.cwd();
const threads = Number(process.env['DOSIMETER_THREADS'] ?? 1);
const descriptors = new Map<string, unknown>();
/** The backend that this process has loaded; null before the first. */
let backend: BackendInfo | null = null;
/** The load of a backend that is under way; null if there is none. */
let loading: Promise<BackendInfo> | null = null;
/** Controllers of running stages, by index among one message's jobs. An abort asks one to stop. */
const running = new Map<number, AbortController>();
/** Whether this process must not be used again: a stage left processes, which were ended. */
let spent = false;

/**
 * Sends a message, unless the pool's process has gone.
 * @param then called when the message is sent; never if the process has gone
 */
function send(message: FromWorker, then: () => void = () => undefined): void {
  if (process.send !== undefined && process.connected) process.send(message, then);
}

/** Loads a plugin's module once. Throws if it exports no plugin of this kind. */
async function loadDescriptor({ kind, name, module }: PluginModule): Promise<unknown> {
  const known = descriptors.get(module);
  if (known !== undefined) return known;
  const { default: loaded } = (await import(pathToFileURL(module).href)) as {
    default?: { kind?: unknown };
  };
  if (loaded?.kind !== kind)
    throw new TypeError(`${module} does not export the ${kind} "${name}" as default`);
  descriptors.set(module, loaded);
  return loaded;
}

/**
 * Loads the job's backend unless it is loaded. For torch, `loadBackend` is called at every job: it
 * compares PyTorch's releases with those that the job's key names.
 */
async function ensureBackend({ backend: name, computedBy }: Job): Promise<void> {
  if (backend?.name === name && name !== 'torch') return;
  // All stages of a pack have the same backend and await this one load.
  loading ??= import('../../tensor/load.ts').then(({ loadBackend }) =>
    loadBackend(name, { threads, ...defined({ computedBy }) }),
  );
  try {
    backend = await loading;
  } finally {
    loading = null;
  }
}

/**
 * Loads the backend torch, for a stage that computes in PyTorch's process under another backend.
 * Throws if PyTorch's releases are not those in the job's key (`computedBy`).
 */
async function ensureTorch(computedBy: string): Promise<void> {
  const { loadBackend } = await import('../../tensor/load.ts');
  await loadBackend('torch', { threads, computedBy });
}

/** Returns what this process has compiled so far; null without a backend that compiles. */
async function compiledSoFar(): Promise<CompiledStatistics | null> {
  return backend === null || backend.name === 'torch'
    ? null
    : (await import('../../tensor/compiled/compiled.ts')).compiledStatistics();
}

interface Started {
  readonly job: Job;
  /** The job's index among the jobs of one message. */
  readonly index: number;
  readonly together?: Seat;
}

/** Resolves to what the stage's `run` returned. */
async function runStage(
  { job, index, together }: Started,
  warn: (warning: Warning) => void,
  signal: AbortSignal,
): Promise<unknown> {
  const stage = (await loadDescriptor(job.stage)) as StageDescriptor;
  const plugins = new Map<string, unknown>();
  for (const use of job.uses) plugins.set(`${use.kind} ${use.name}`, await loadDescriptor(use));
  const hooks = {
    log: (message: string) => send({ type: 'log', job: index, message }),
    warn,
    progress: (done: number, total: number, unit: string) =>
      send({ type: 'progress', job: index, done, total, unit }),
    plugin: (kind: string, name: string) => plugins.get(`${kind} ${name}`),
  };
  const context = openContext(job, hooks, signal);
  if (job.compute) await ensureBackend(job);
  if (job.torch !== undefined) await ensureTorch(job.torch);
  return stage.run({ ...context, ...defined({ together }) });
}

/** Performs one job. Returns a result, whatever the stage's code throws. */
async function perform(started: Started, signal: AbortSignal): Promise<WorkerResult> {
  const { job, index, together } = started;
  const began = performance.now(),
    before = await compiledSoFar();
  const warnings: Warning[] = [];
  const ended = await runStage(started, (warning) => void warnings.push(warning), signal).then(
    (returned) => ({ returned }),
    (error: unknown) => ({ error }),
  );
  together?.leave();
  const seconds = (performance.now() - began) / 1000;
  // Leftover processes are ended before the outputs are listed, which they might still change.
  if (running.size === 1) await endLeftovers(index);
  if (job.compute && backend !== null && backend.name !== 'torch') {
    const { describeCompiled } = await import('../../tensor/compiled/compiled.ts');
    const message = describeCompiled(before, await compiledSoFar());
    if (message !== null) send({ type: 'log', job: index, message });
  }
  if ('error' in ended) return thrownResult(ended.error);
  const result = await doneResult(job, ended.returned, seconds, warnings).catch(thrownResult);
  return result.type === 'done' && job.compute && backend !== null
    ? { ...result, computed: { ...backend } }
    : result;
}

/** Ends the processes that a stage left, and says so in the log of the job `index`. */
async function endLeftovers(index: number): Promise<void> {
  const count = await endChildren();
  if (count === 0) return;
  spent = true;
  send({ type: 'log', job: index, message: leftText(count) });
}

/**
 * Resolves once all that was printed has been sent. This must be before the stage's result is sent,
 * since later output does not get into the stage's log.
 */
async function flushOutput(): Promise<void> {
  await Promise.all(
    [process.stdout, process.stderr].map(
      (stream) =>
        new Promise((resolve) => {
          stream.write('', resolve);
        }),
    ),
  );
}

/**
 * Performs the jobs of one message at once, and sends each result as it comes. Several jobs get the
 * seats of one meeting (base/meeting.ts), where their requests can be answered together.
 */
async function runJobs(jobs: readonly Job[]): Promise<void> {
  const seats = jobs.length === 1 ? [] : meeting(jobs.length);
  for (const index of jobs.keys()) running.set(index, new AbortController());
  await Promise.all(
    jobs.map(async (job, index) => {
      const { signal } = running.get(index) ?? new AbortController();
      const result = await perform({ job, index, ...defined({ together: seats[index] }) }, signal);
      await flushOutput();
      // Removed before the result is sent, since the next job may follow at once.
      running.delete(index);
      if (running.size === 0) process.chdir(home);
      send({ type: 'result', job: index, result, ...(spent ? { leaving: true } : {}) });
    }),
  );
}

process.on('message', (message: ToWorker) => {
  if (message.type === 'abort') running.get(message.job)?.abort();
  else void runJobs(message.jobs);
});

// Handles a rejected promise that a plugin does not await, or a throw in a callback. The running
// stage is to blame, and this process must not be used again.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    const exit = (): never => process.exit(70);
    const blamed = [...running.keys()];
    if (blamed.length > 0)
      for (const job of blamed)
        send(
          { type: 'result', job, result: thrownResult(error), leaving: true },
          job === blamed.at(-1) ? exit : undefined,
        );
    else
      process.stderr.write(
        `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
        exit,
      );
  });
}

// Ctrl-C in a terminal reaches the whole process group, and SIGTERM before a preemption reaches
// every process of a Slurm job. Both are ignored: the process that started a worker asks its stages
// to stop, so that they save their state first.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => {
  endMarked(WORKER_MARK, new Set([process.env[WORKER_MARK] ?? '']));
  try {
    process.kill(-process.pid, 'SIGKILL'); // with what a stage forked: the worker leads its group
  } catch {
    process.exit(1);
  }
});

// A thread that ends the worker if the process that started it was killed: while TensorFlow
// computes, the main thread handles no event.
const WATCH = `
  const { ppid } = process;
  setInterval(() => {
    if (process.ppid === ppid) return;
    try {
      process.kill(-process.pid, 'SIGKILL');
    } catch {
      process.kill(process.pid, 'SIGKILL');
    }
  }, 500);
`;
new Worker(WATCH, { eval: true, stdout: false, stderr: false }).unref();

send({ type: 'ready' });

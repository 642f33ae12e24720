/**
 * A worker process. It performs one job after another and stays warm in between, so that a backend
 * and a model are loaded once. Whatever a plugin does to it (throw, exit, hang, print without end)
 * stays within this process.
 */
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { BackendName, RunContext, StageDescriptor, Warning } from '../../api.ts';
import type { CompiledStatistics } from '../../tensor/compiled/compiled.ts';
import { describeCompiled } from '../../tensor/compiled/describe.ts';
import type { BackendInfo } from '../../tensor/types.ts';
import { endChildren, endMarked, MARK } from './offspring.ts';
import { contextOf, outputOf, thrownResult } from './perform.ts';
import type { FromWorker, Job, JobResult, PluginModule, ToWorker } from './protocol.ts';

/** The result of a job as a worker sends it. A worker never reports its own exit. */
type WorkerResult = Exclude<JobResult, { type: 'exit' }>;

const home = process.cwd();
const descriptors = new Map<string, unknown>();
/** The loaded backend; null until one is loaded. */
let backend: BackendInfo | null = null;
/** One controller for each stage that is running: one for a lone stage, several for a pack. */
let running: readonly AbortController[] = [];
/** Whether a stage left processes behind. They were ended, and this process may miss them. */
let spent = false;

function send(message: FromWorker, then: () => void = () => undefined): void {
  if (process.send !== undefined && process.connected) process.send(message, then);
}

async function load({ kind, name, module }: PluginModule): Promise<unknown> {
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

async function ensureBackend(name: BackendName): Promise<void> {
  if (backend?.name === name) return;
  const { loadBackend } = await import('../../tensor/backend.ts');
  backend = await loadBackend(name, { threads: Number(process.env['DOSIMETER_THREADS'] ?? 1) });
}

/** What stages of this process have compiled so far; null where nothing is compiled. */
async function compiledSoFar(): Promise<CompiledStatistics | null> {
  return backend === null
    ? null
    : (await import('../../tensor/compiled/compiled.ts')).compiledStatistics();
}

/**
 * A job, its place in the pack (0 if it is alone), and the controller that asks its stage to stop.
 */
interface Member {
  readonly job: Job;
  readonly member: number;
  readonly stop: AbortController;
  /** What its stage has warned of so far. */
  readonly warnings: Warning[];
}

async function contextOfMember({ job, member, stop, warnings }: Member): Promise<RunContext> {
  const plugins = new Map<string, unknown>();
  for (const use of job.uses) plugins.set(`${use.kind} ${use.name}`, await load(use));
  const hooks = {
    log: (message: string) => send({ type: 'log', member, message }),
    warn: (warning: Warning) => void warnings.push(warning),
    progress: (done: number, total: number, unit: string) =>
      send({ type: 'progress', member, done, total, unit }),
    plugin: (kind: string, name: string) => plugins.get(`${kind} ${name}`),
  };
  return contextOf(job, hooks, stop.signal);
}

/** Stages that have been started. */
interface Started {
  /** A promise for each of them. */
  readonly promises: readonly Promise<unknown>[];
  /** Returns the seconds that a stage has taken; called once, when it ends. */
  readonly secondsOf: (member: number) => number;
}

/** Starts a stage, or a pack of stages of one kind. */
async function start(first: Job, members: readonly Member[]): Promise<Started> {
  const began = performance.now();
  const { name } = first.stage;
  const stage = (await load(first.stage)) as StageDescriptor;
  const contexts: RunContext[] = [];
  for (const member of members) contexts.push(await contextOfMember(member));
  if (first.compute) await ensureBackend(first.backend);
  const clock = sharedClock(members.length, began);
  const [only] = contexts;
  if (only !== undefined && contexts.length === 1)
    return { promises: [stage.run(only)], secondsOf: clock };
  if (stage.pack === undefined) throw new Error(`the stage "${name}" can't be packed`);
  const { pack } = stage,
    gpu = (backend?.gpu ?? null) !== null;
  if (contexts.every(({ params }) => pack.shares?.({ gpu }, params) === false))
    return oneAfterAnother(stage, contexts, began);
  const promises: unknown = pack.run(contexts);
  if (!Array.isArray(promises) || promises.length !== contexts.length)
    throw new TypeError(
      `\`pack.run\` of the stage "${name}" did not return a promise ` +
        `for each of its ${contexts.length} stages`,
    );
  return { promises: promises as readonly Promise<unknown>[], secondsOf: clock };
}

/** Thrown in place of a stage that was asked to stop before it began. */
class NotBegun extends Error {}

/**
 * Runs stages that share no work, each when the one before it has ended.
 * @param began when the first one was started, on the monotonic clock
 */
function oneAfterAnother(
  stage: StageDescriptor,
  contexts: readonly RunContext[],
  began: number,
): Started {
  const took = new Map<number, number>();
  let before: Promise<unknown> = Promise.resolve(),
    since = began;
  const promises = contexts.map((context, member) => {
    const running = before
      .then(() => {
        if (context.signal.aborted) throw new NotBegun('it was stopped before it began');
        return stage.run(context);
      })
      .finally(async () => {
        if (member < contexts.length - 1) await endLeftovers(member);
        const now = performance.now();
        took.set(member, (now - since) / 1000);
        since = now;
      });
    before = running.catch(() => undefined);
    return running;
  });
  return { promises, secondsOf: (member) => took.get(member) ?? 0 };
}

/**
 * Returns a clock for stages that started together: each second is divided evenly among those that
 * run.
 */
function sharedClock(count: number, began: number): () => number {
  let active = count,
    last = began,
    seconds = 0;
  return () => {
    const now = performance.now();
    seconds += (now - last) / 1000 / active--;
    last = now;
    return seconds;
  };
}

function performJobs(members: readonly Member[]): readonly Promise<WorkerResult>[] {
  const [first] = members;
  if (first === undefined) return [];
  const before = compiledSoFar();
  let active = members.length;
  const started = start(first.job, members);
  return members.map(async ({ job, member, warnings }): Promise<WorkerResult> => {
    const ended = await started
      .then(({ promises }) => promises[member])
      .then(
        (returned) => ({ returned }),
        (error: unknown) => ({ error }),
      );
    const seconds = await started.then(({ secondsOf }) => secondsOf(member)).catch(() => 0);
    // Ended before the outputs are listed, since a process that goes on writing would change them.
    if (--active === 0) {
      await endLeftovers(member);
      if (job.compute) await tellCompiled(member, await before);
    }
    if ('error' in ended)
      return ended.error instanceof NotBegun
        ? { type: 'fault', message: ended.error.message, cutOff: true }
        : thrownResult(ended.error);
    const result = await outputOf(job, ended.returned, seconds, warnings).catch(thrownResult);
    if (result.type === 'exit') throw new Error('a job cannot report its own exit');
    return result.type === 'done' && job.compute && backend !== null
      ? { ...result, computed: { ...backend } }
      : result;
  });
}

/** Logs what the stages that have ended compiled, if anything. */
async function tellCompiled(member: number, before: CompiledStatistics | null): Promise<void> {
  const message = describeCompiled(before, await compiledSoFar());
  if (message !== null) send({ type: 'log', member, message });
}

async function endLeftovers(member: number): Promise<void> {
  const count = await endChildren();
  if (count === 0) return;
  spent = true;
  const what = count === 1 ? 'a process, which was' : `${count} processes, which were`;
  send({ type: 'log', member, message: `it left ${what} ended` });
}

/**
 * Waits until what a stage printed has been sent. It must precede the stage's result, so that it
 * gets into that stage's log.
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

function run(jobs: readonly Job[]): void {
  const members = jobs.map((job, member): Member => ({
    job,
    member,
    stop: new AbortController(),
    warnings: [],
  }));
  running = members.map(({ stop }) => stop);
  let left = jobs.length;
  performJobs(members).forEach((promise, member) => {
    void promise.then(async (result) => {
      await flushOutput();
      if (--left === 0) {
        // Reset before the last result is sent, since the next job may follow at once.
        running = [];
        process.chdir(home);
      }
      send({ type: 'result', member, result, ...(spent ? { leaving: true } : {}) });
    });
  });
}

process.on('message', (message: ToWorker) => {
  if (message.type === 'abort') message.members.forEach((member) => running[member]?.abort());
  else run(message.jobs);
});

// Handles a promise that a plugin forgot, or a throw in a callback. The running stage is to blame,
// and this process must not be used again.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    const exit = (): never => process.exit(70);
    if (running.length === 1)
      send({ type: 'result', member: 0, result: thrownResult(error), leaving: true }, exit);
    // In a pack, nobody knows which stage is to blame: the scheduler runs its stages one by one.
    else
      process.stderr.write(
        `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
        exit,
      );
  });
}

// Ctrl-C in a terminal reaches the whole process group, and SIGTERM before a preemption every
// process of a Slurm job. But only the process that has started a worker ends it: a stage that is
// asked to stop saves its state first.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => {
  endMarked(new Set([process.env[MARK] ?? '']));
  try {
    process.kill(-process.pid, 'SIGKILL'); // with what a stage forked: the worker leads its group
  } catch {
    process.exit(1);
  }
});

// While TensorFlow computes, no event is handled. This thread ends the worker if its scheduler was
// killed.
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

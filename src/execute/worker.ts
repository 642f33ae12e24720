/**
 * A worker process: runs one stage after another and stays warm between them, so that a backend and a model are loaded
 * once. What a plugin does to it (throw, exit, hang, print without end) ends at its borders.
 */
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { BackendName, RunContext, StageDescriptor } from '../api.ts';
import type { BackendInfo } from '../compute/types.ts';
import { endChildren, endMarked, MARK } from './offspring.ts';
import { contextOf, outputOf, thrownResult } from './perform.ts';
import type { FromWorker, Job, JobResult, PluginModule, ToWorker } from './protocol.ts';

const home = process.cwd();
const descriptors = new Map<string, unknown>();
/** What is loaded. */
let backend: BackendInfo | null = null;
/** One for each stage that runs now: one, or a pack. */
let running: readonly AbortController[] = [];
/** A stage left processes behind, which were ended: this one may miss them. */
let spent = false;

const send = (message: FromWorker): void => {
  if (process.connected) process.send!(message);
};

async function load({ kind, name, module }: PluginModule): Promise<unknown> {
  const known = descriptors.get(module);
  if (known !== undefined) return known;
  const loaded = ((await import(pathToFileURL(module).href)) as { default?: { kind?: unknown } })
    .default;
  if (loaded?.kind !== kind)
    throw new TypeError(`${module} does not export the ${kind} "${name}" as default`);
  descriptors.set(module, loaded);
  return loaded;
}

async function ensureBackend(name: BackendName): Promise<void> {
  if (backend?.name === name) return;
  const { loadBackend } = await import('../compute/backend.ts');
  backend = await loadBackend(name, { threads: Number(process.env['DOSIMETER_THREADS'] ?? 1) });
}

/** What a stage, or a pack of stages of one kind, came to: one promise each. */
async function start(
  jobs: readonly Job[],
  signals: readonly AbortSignal[],
): Promise<readonly Promise<unknown>[]> {
  const first = jobs[0]!,
    { name } = first.stage;
  const stage = (await load(first.stage)) as StageDescriptor;
  const contexts: RunContext[] = [];
  for (const [member, job] of jobs.entries()) {
    const plugins = new Map<string, unknown>();
    for (const use of job.uses) plugins.set(`${use.kind} ${use.name}`, await load(use));
    contexts.push(
      contextOf(
        job,
        {
          log: (message) => send({ type: 'log', member, message }),
          progress: (done, total, unit) => send({ type: 'progress', member, done, total, unit }),
          plugin: (kind, of) => plugins.get(`${kind} ${of}`),
        },
        signals[member]!,
      ),
    );
  }
  if (first.compute) await ensureBackend(first.backend);
  if (contexts.length === 1) return [stage.run(contexts[0]!)];
  if (stage.pack === undefined) throw new Error(`the stage "${name}" can't be packed`);
  const promises: unknown = stage.pack.run(contexts);
  if (!Array.isArray(promises) || promises.length !== contexts.length)
    throw new TypeError(
      `\`pack.run\` of the stage "${name}" returned no promise for each of its ${contexts.length} stages`,
    );
  return promises as readonly Promise<unknown>[];
}

/** The clock of stages that start together: a second that passes is divided evenly among those still running. */
function sharedClock(count: number): () => number {
  let active = count,
    last = performance.now(),
    seconds = 0;
  return () => {
    const now = performance.now();
    seconds += (now - last) / 1000 / active--;
    last = now;
    return seconds;
  };
}

function run(jobs: readonly Job[], signals: readonly AbortSignal[]): readonly Promise<JobResult>[] {
  const endOne = sharedClock(jobs.length);
  let active = jobs.length;
  const started = start(jobs, signals);
  return jobs.map(async (job, member) => {
    const returned = await started
      .then((promises) => promises[member])
      .then(
        (value) => ({ value, seconds: endOne() }),
        (error: unknown) => ({ error, seconds: endOne() }),
      );
    // Before its files are listed: what goes on writing would change them.
    const left = --active === 0 ? await endChildren() : 0;
    if (left > 0) {
      spent = true;
      send({
        type: 'log',
        member,
        message: `it left ${left === 1 ? 'a process, which was' : `${left} processes, which were`} ended`,
      });
    }
    if ('error' in returned) return thrownResult(returned.error);
    const result = await outputOf(job, returned.value, returned.seconds).catch(thrownResult);
    return result.type === 'done' && job.compute && backend !== null
      ? { ...result, computed: { ...backend } }
      : result;
  });
}

process.on('message', (message: ToWorker) => {
  if (message.type === 'abort') {
    running[message.member]?.abort();
    return;
  }
  const controllers = (running = message.jobs.map(() => new AbortController()));
  const results = run(
    message.jobs,
    controllers.map(({ signal }) => signal),
  );
  let left = results.length;
  results.forEach(
    (promise, member) =>
      void promise.then(async (result) => {
        // What it printed must be out before the result: the scheduler gives it to this stage's log.
        await Promise.all(
          [process.stdout, process.stderr].map(
            (stream) =>
              new Promise((resolve) => {
                stream.write('', resolve);
              }),
          ),
        );
        if (--left === 0) {
          // before the last result is sent: the next job may be on its way at once
          running = [];
          process.chdir(home);
        }
        send({
          type: 'result',
          member,
          result: result as Exclude<JobResult, { type: 'exit' }>,
          ...(spent ? { leaving: true } : {}),
        });
      }),
  );
});

// A promise that a plugin forgot, or a throw in a callback: the stage that runs is to blame, and this process is not to be trusted again.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    if (running.length === 1)
      process.send!(
        {
          type: 'result',
          member: 0,
          result: thrownResult(error),
          leaving: true,
        } satisfies FromWorker,
        () => process.exit(70),
      );
    // Of a pack nobody knows whose it is: the scheduler runs its stages one by one.
    else
      process.stderr.write(
        `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
        () => process.exit(70),
      );
  });
}

// The scheduler ends workers; Ctrl-C in a terminal reaches the whole group, and is the scheduler's to handle.
process.on('SIGINT', () => undefined);
const leave = (): void => {
  // What a stage forked goes too: the worker leads a process group of its own.
  endMarked(new Set([process.env[MARK] ?? '']));
  try {
    process.kill(-process.pid, 'SIGKILL');
  } catch {
    process.exit(1);
  }
};
process.on('disconnect', leave);

// While TensorFlow computes, no event is handled; a thread sees to it that a killed scheduler leaves nothing behind.
const watch = new Worker(
  'const { ppid } = process; setInterval(() => { if (process.ppid !== ppid) { try { process.kill(-process.pid, "SIGKILL"); } catch { process.kill(process.pid, "SIGKILL"); } } }, 500);',
  { eval: true, stdout: false, stderr: false },
);
watch.unref();

send({ type: 'ready' });

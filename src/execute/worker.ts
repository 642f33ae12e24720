/**
 * A worker process: runs one stage after another and stays warm between them, so that a backend and a model are loaded
 * once. What a plugin does to it (throw, exit, hang, print without end) ends at its borders.
 */
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { BackendName, StageDescriptor } from '../api.ts';
import { perform, thrownResult } from './perform.ts';
import type { FromWorker, Job, JobResult, PluginModule, ToWorker } from './protocol.ts';

const home = process.cwd();
const descriptors = new Map<string, unknown>();
let backend: BackendName | null = null;
let running: AbortController | null = null;

const send = (message: FromWorker): void => { if (process.connected) process.send!(message); };

async function load({ kind, name, module }: PluginModule): Promise<unknown> {
  const known = descriptors.get(module);
  if (known !== undefined) return known;
  const loaded = (await import(pathToFileURL(module).href) as { default?: { kind?: unknown } }).default;
  if (loaded?.kind !== kind) throw new TypeError(`${module} does not export the ${kind} "${name}" as default`);
  descriptors.set(module, loaded);
  return loaded;
}

async function ensureBackend(name: BackendName): Promise<void> {
  if (backend === name) return;
  const { loadBackend } = await import('../compute/backend.ts');
  await loadBackend(name, { threads: Number(process.env['DOSIMETER_THREADS'] ?? 1) });
  backend = name;
}

async function run(job: Job, signal: AbortSignal): Promise<JobResult> {
  const started = performance.now();
  const stage = await load(job.stage) as StageDescriptor;
  const plugins = new Map<string, unknown>();
  for (const use of job.uses) plugins.set(`${use.kind} ${use.name}`, await load(use));
  if (job.compute) await ensureBackend(job.backend);
  return perform(job, stage, {
    log: (message) => send({ type: 'log', message }),
    progress: (done, total, unit) => send({ type: 'progress', done, total, unit }),
    plugin: (kind, name) => plugins.get(`${kind} ${name}`),
  }, signal, started);
}

process.on('message', (message: ToWorker) => {
  if (message.type === 'abort') { running?.abort(); return; }
  const controller = running = new AbortController();
  void run(message.job, controller.signal).catch(thrownResult).then(async (result) => {
    // What it printed must be out before the result: the scheduler gives it to this stage's log.
    await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((resolve) => { stream.write('', resolve); })));
    running = null;
    process.chdir(home);
    send({ type: 'result', result: result as Exclude<JobResult, { type: 'exit' }> });
  });
});

// A promise that a plugin forgot, or a throw in a callback. Stages run one at a time, so the stage that runs is to blame, and this process is not to be trusted again.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    if (!running) process.exit(70);
    process.send!({ type: 'result', result: thrownResult(error), leaving: true } satisfies FromWorker, () => process.exit(70));
  });
}

// The scheduler ends workers; Ctrl-C in a terminal reaches the whole group, and is the scheduler's to handle.
process.on('SIGINT', () => undefined);
const leave = (): void => {
  // What a stage forked goes too: the worker leads a process group of its own.
  try { process.kill(-process.pid, 'SIGKILL'); } catch { process.exit(1); }
};
process.on('disconnect', leave);

// While TensorFlow computes, no event is handled; a thread sees to it that a killed scheduler leaves nothing behind.
const watch = new Worker(
  'const { ppid } = process; setInterval(() => { if (process.ppid !== ppid) { try { process.kill(-process.pid, "SIGKILL"); } catch { process.kill(process.pid, "SIGKILL"); } } }, 500);',
  { eval: true, stdout: false, stderr: false },
);
watch.unref();

send({ type: 'ready' });

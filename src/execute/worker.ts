/**
 * A worker process: runs one stage after another and stays warm between them, so that a backend and a model are loaded
 * once. What a plugin does to it (throw, exit, hang, print without end) ends at its borders.
 */
import { mkdirSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { BackendName, RunContext, StageDescriptor } from '../api.ts';
import { fullDiskFault } from '../store/faults.ts';
import { digestFiles } from '../store/files.ts';
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

/** Stages run one at a time, so the last word on an uncaught fault is about the stage that runs. */
function describe(thrown: unknown): Exclude<JobResult, { type: 'exit' | 'done' }> {
  const error = fullDiskFault(thrown, 'the store');
  if (!(error instanceof Error)) return { type: 'error', message: `it threw ${String(error)}, which is no Error`, stack: '' };
  const { name, message, stack } = error, hint = (error as { hint?: unknown }).hint;
  // By name: a plugin's bundle has a copy of the class of its own.
  if (name === 'UserFault') return { type: 'fault', message, ...(typeof hint === 'string' ? { hint } : {}) };
  return { type: 'error', message, stack: stack ?? '' };
}

async function run(job: Job, signal: AbortSignal): Promise<JobResult> {
  const started = performance.now();
  const stage = await load(job.stage) as StageDescriptor;
  const plugins = new Map<string, unknown>();
  for (const use of job.uses) plugins.set(`${use.kind} ${use.name}`, await load(use));
  if (job.compute) await ensureBackend(job.backend);
  mkdirSync(job.outDir, { recursive: true });
  let lastProgress = 0;
  const context: RunContext = {
    params: job.params, inputs: job.inputs, assets: job.assets, outDir: job.outDir, backend: job.backend, signal,
    log: (message) => send({ type: 'log', message: String(message) }),
    progress: (done, total, unit) => {
      const now = performance.now();
      if (done < total && now - lastProgress < 100) return;
      lastProgress = now;
      send({ type: 'progress', done, total, unit });
    },
    plugin: <D>(kind: string, name: string): D => {
      const plugin = plugins.get(`${kind} ${name}`);
      if (plugin === undefined) throw new Error(`the stage "${job.stage.name}" asks for the ${kind} "${name}", which its definition doesn't name in \`uses\``);
      return plugin as D;
    },
    ...(job.experiment ? { experiment: job.experiment } : {}),
  };
  const returned: unknown = await stage.run(context);
  if (returned !== undefined) throw new TypeError(`the stage "${job.stage.name}" returned ${typeof returned}; its output is what it writes to outDir, and \`run\` returns nothing`);
  const seconds = (performance.now() - started) / 1000;
  const files = await digestFiles(job.outDir);
  if (files.length === 0) throw new Error(`the stage "${job.stage.name}" wrote no file`);
  return { type: 'done', files, seconds, peakMemoryMB: process.resourceUsage().maxRSS / 1024 };
}

process.on('message', (message: ToWorker) => {
  if (message.type === 'abort') { running?.abort(); return; }
  const controller = running = new AbortController();
  void run(message.job, controller.signal).catch(describe).then(async (result) => {
    // What it printed must be out before the result: the scheduler gives it to this stage's log.
    await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((resolve) => { stream.write('', resolve); })));
    running = null;
    process.chdir(home);
    send({ type: 'result', result: result as Exclude<JobResult, { type: 'exit' }> });
  });
});

// A promise that a plugin forgot, or a throw in a callback: the stage that runs is to blame, and this process is not to be trusted again.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    if (!running) process.exit(70);
    process.send!({ type: 'result', result: describe(error), leaving: true } satisfies FromWorker, () => process.exit(70));
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

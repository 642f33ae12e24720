/** Runs a stage's own code, in whatever process: what a worker and the scheduler (for inline stages) both do. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunContext, StageDescriptor } from '../api.ts';
import { UserFault } from '../api.ts';
import { fullDiskFault } from '../store/faults.ts';
import { digestFiles } from '../store/files.ts';
import { makeFolder } from '../store/folders.ts';
import { METRICS, parseMetrics } from './metrics.ts';
import type { Job, JobResult } from './protocol.ts';

export interface PerformHooks {
  readonly log: (message: string) => void;
  readonly progress: (done: number, total: number, unit: string) => void;
  /** A plugin that the job names in `uses`; undefined for any other. */
  readonly plugin: (kind: string, name: string) => unknown;
}

/** Progress is told at most this often, and at its end. */
const PROGRESS_MS = 100;

/** Throws what the stage throws. @param started by `performance.now()`, where loading it counts as its time */
export async function perform(
  job: Job,
  stage: StageDescriptor,
  hooks: PerformHooks,
  signal: AbortSignal,
  started = performance.now(),
): Promise<JobResult> {
  const returned: unknown = await stage.run(contextOf(job, hooks, signal));
  return outputOf(job, returned, (performance.now() - started) / 1000);
}

/** What the stage is handed; its output folder is there from now on. */
export function contextOf(job: Job, hooks: PerformHooks, signal: AbortSignal): RunContext {
  if (!existsSync(job.outDir)) makeFolder(job.outDir);
  let lastProgress = 0;
  return {
    params: job.params,
    inputs: job.inputs,
    assets: job.assets,
    outDir: job.outDir,
    backend: job.backend,
    signal,
    ...(job.resumeDir === undefined ? {} : { resumeDir: job.resumeDir }),
    log: (message) => hooks.log(String(message)),
    progress: (done, total, unit) => {
      const now = performance.now();
      if (done < total && now - lastProgress < PROGRESS_MS) return;
      lastProgress = now;
      hooks.progress(done, total, unit);
    },
    plugin: <D>(kind: string, name: string): D => {
      const plugin = hooks.plugin(kind, name);
      if (plugin === undefined)
        throw new Error(
          `the stage "${job.stage.name}" asks for the ${kind} "${name}", which its definition doesn't name in \`uses\``,
        );
      return plugin as D;
    },
    ...(job.limits ? { limits: job.limits } : {}),
    ...(job.experiment ? { experiment: job.experiment } : {}),
  };
}

/** What it left. @param returned by its `run`; @param seconds of its own time */
export async function outputOf(job: Job, returned: unknown, seconds: number): Promise<JobResult> {
  if (returned !== undefined)
    throw new TypeError(
      `the stage "${job.stage.name}" returned ${typeof returned}; its output is what it writes to outDir, and \`run\` returns nothing`,
    );
  const files = await digestFiles(job.outDir);
  if (files.length === 0) throw new Error(`the stage "${job.stage.name}" wrote no file`);
  if (files.some(({ path: name }) => name === METRICS))
    await checkMetrics(join(job.outDir, METRICS), job.stage.name);
  return { type: 'done', files, seconds, peakMemoryMB: peakMemory() };
}

/** What `results`, `diff` and the report read, of every stage alike: a value that they would leave out unseen is a fault. */
async function checkMetrics(file: string, stage: string): Promise<void> {
  const parsed = parseMetrics(await readFile(file, 'utf8'));
  if ('fault' in parsed)
    throw new UserFault(
      `the stage "${stage}" wrote a metrics.json that ${parsed.fault}`,
      'an object of numbers, such as {"accuracy": 0.9}; a number that is not finite has no JSON (JSON.stringify makes null of it)',
    );
}

/** MB of this process so far. Asking takes 50 µs, as long as a trivial stage: once a while is enough. */
const MEMORY_MS = 500;
let asked = Number.NEGATIVE_INFINITY,
  peak = 0;
function peakMemory(): number {
  const now = performance.now();
  if (now - asked > MEMORY_MS) {
    asked = now;
    peak = process.resourceUsage().maxRSS / 1024;
  }
  return peak;
}

/** Of a message or a stack, this many characters are told. */
const TOLD = 20_000;

/** What a stage threw, as a result. */
export function thrownResult(thrown: unknown): Exclude<JobResult, { type: 'exit' | 'done' }> {
  const error = fullDiskFault(thrown, 'the store');
  if (!(error instanceof Error))
    return {
      type: 'error',
      message: `it threw ${String(error).slice(0, TOLD)}, which is no Error`,
      stack: '',
    };
  const message = String(error.message).slice(0, TOLD),
    hint = (error as { hint?: unknown }).hint;
  // By name: a plugin's bundle has a copy of the class of its own.
  if (error.name === 'UserFault')
    return {
      type: 'fault',
      message,
      ...(typeof hint === 'string' ? { hint: hint.slice(0, TOLD) } : {}),
    };
  return { type: 'error', message, stack: (error.stack ?? '').slice(0, TOLD) };
}

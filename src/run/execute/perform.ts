/**
 * Performs a job: runs the stage's own code, in a worker or, for inline stages, in this process, and
 * checks and hashes what it wrote. Inline stages run one at a time, so that anything thrown
 * meanwhile is the fault of the stage that is running.
 */
import { existsSync, utimesSync } from 'node:fs';
import {
  type OutputFile,
  type RunContext,
  type StageDescriptor,
  type Warning,
  UserFault,
  type Job,
  type JobResult,
  type PackedJob,
} from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { PluginKind } from '../../plan/graph.ts';
import { WARNINGS } from '../../plan/keys.ts';
import { fullDiskFault } from '../../store/faults.ts';
import { listFiles, SETTLED_MS, sha256File } from '../../store/files.ts';
import { makeFolder } from '../../store/folders.ts';
import { readRegularText } from '../../store/regular.ts';
import type { RuntimeRegistry } from './execution.ts';
import { traced } from './failure.ts';
import { METRICS, parseMetrics } from './metrics.ts';
import { writeWarnings } from './warnings.ts';

interface PerformHooks {
  readonly log: (message: string) => void;
  readonly progress: (done: number, total: number, unit: string) => void;
  /** Returns a plugin that the job names in `uses`; undefined for any other. */
  readonly plugin: (kind: string, name: string) => unknown;
}

/** The shortest time between two reports of progress; the last one is always sent. */
const PROGRESS_MS = 100;

/** Performs the job and returns its result. Throws what the stage throws. */
async function performJob(
  job: Job,
  stage: StageDescriptor,
  hooks: PerformHooks,
  signal: AbortSignal,
): Promise<JobResult> {
  const started = performance.now();
  const warnings: Warning[] = [];
  const warn = (warning: Warning): void => void warnings.push(warning);
  const running: Promise<unknown> = stage.run(contextOf(job, { ...hooks, warn }, signal));
  return outputOf(job, await running, (performance.now() - started) / 1000, warnings);
}

/** Makes the output folder, and returns the context that the stage's `run` gets. */
export function contextOf(
  job: Job,
  hooks: PerformHooks & Pick<RunContext, 'warn'>,
  signal: AbortSignal,
): RunContext {
  if (!existsSync(job.outDir)) makeFolder(job.outDir);
  let lastProgress = 0;
  return {
    params: job.params,
    inputs: job.inputs,
    assets: job.assets,
    outDir: job.outDir,
    backend: job.backend,
    signal,
    log: (message: unknown) => hooks.log(String(message)), // it may not be a string in JavaScript
    warn: (warning) => {
      hooks.warn(warning);
      hooks.log(`warning: ${warning.message}`);
    },
    progress: (done, total, unit) => {
      const now = performance.now();
      if (done < total && now - lastProgress < PROGRESS_MS) return;
      lastProgress = now;
      hooks.progress(done, total, unit);
    },
    plugin: ((kind: string, name: string): unknown => {
      const plugin = hooks.plugin(kind, name);
      if (plugin === undefined)
        throw new Error(
          `the stage "${job.stage.name}" asks for the ${kind} "${name}", ` +
            "which its definition doesn't name in `uses`",
        );
      return plugin;
    }) as RunContext['plugin'],
    ...defined({ resumeDir: job.resumeDir, limits: job.limits, experiment: job.experiment }),
  };
}

/**
 * Returns the result of a stage that ended without an error. Throws if its outputs are at fault.
 * @param returned what its `run` returned
 * @param seconds how long it ran
 * @param warnings what it warned of
 */
export async function outputOf(
  job: Job,
  returned: unknown,
  seconds: number,
  warnings: readonly Warning[],
): Promise<JobResult> {
  const { name } = job.stage;
  if (returned !== undefined)
    throw new TypeError(
      `the stage "${name}" returned ${typeof returned}; ` +
        'its output is what it writes to outDir, and `run` returns nothing',
    );
  writeWarnings(job.outDir, name, [...(job.warnings ?? []), ...warnings]);
  const files = await digestOutputs(job.outDir);
  if (files.every(({ path }) => path === WARNINGS))
    throw new Error(`the stage "${name}" wrote no file`);
  checkMetrics(job.outDir, files, name);
  return { type: 'done', files, seconds, peakMemoryMB: peakMemory() };
}

/**
 * How often this process's memory is measured at most. Measuring takes 50 µs, as long as a trivial
 * stage.
 */
const MEMORY_MS = 500;
let asked = Number.NEGATIVE_INFINITY,
  peak = 0;

/** Returns the most memory that this process has taken so far, in MB. */
function peakMemory(): number {
  const now = performance.now();
  if (now - asked > MEMORY_MS) {
    asked = now;
    peak = process.resourceUsage().maxRSS / 1024;
  }
  return peak;
}

/** How many characters of a message or a stack are passed on. */
const TOLD = 20_000;

/** Returns the result of a stage that threw. */
export function thrownResult(thrown: unknown): Exclude<JobResult, { type: 'exit' | 'done' }> {
  const error = fullDiskFault(thrown, 'the store');
  if (!(error instanceof Error))
    return {
      type: 'error',
      message: `it threw ${String(error).slice(0, TOLD)}, which is not an Error`,
      stack: '',
    };
  const { message: said, hint } = error as { readonly message: unknown; readonly hint?: unknown };
  const message = String(said).slice(0, TOLD);
  // Recognised by name, since a plugin's bundle has a copy of the class.
  if (error.name === 'UserFault')
    return {
      type: 'fault',
      message,
      ...(typeof hint === 'string' ? { hint: hint.slice(0, TOLD) } : {}),
    };
  return { type: 'error', message, ...traced((error.stack ?? '').slice(0, TOLD)) };
}

let turn: Promise<unknown> = Promise.resolve();

/** How long inline stages may keep the event loop (signals, heartbeats, flushes) waiting. */
const EVENTS_MS = 20;
let lastEvents = 0;

async function afterEvents<T>(task: () => Promise<T>): Promise<T> {
  if (performance.now() - lastEvents > EVENTS_MS) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    lastEvents = performance.now();
  }
  return task();
}

/** Runs `task` after those that were passed before it. A stage's time starts with its turn. */
export function inTurn<T>(task: () => Promise<T>): Promise<T> {
  const result = turn.then(() => afterEvents(task));
  turn = result.catch(() => undefined);
  return result;
}

/**
 * Performs a job. Like a worker, it never rejects on account of the job. On abort the stage is
 * asked to stop, and the result no longer waits for it.
 */
export async function performInline(
  { job, hooks, signal }: PackedJob,
  stage: StageDescriptor,
  registry: RuntimeRegistry,
): Promise<JobResult> {
  const plugin = (kind: string, name: string): unknown =>
    job.uses.some((use) => use.kind === kind && use.name === name)
      ? registry.get(kind as PluginKind, name)?.descriptor
      : undefined;
  let stop: (result: JobResult) => void = () => undefined;
  const stopped = new Promise<JobResult>((resolve) => {
    stop = resolve;
  });
  const onAbort = (): void => stop({ type: 'fault', message: 'it was asked to stop' });
  // Without this, a promise that the stage forgot or a throw in a callback would end the run.
  const onStray = (error: unknown): void => stop(thrownResult(error));
  process.on('uncaughtException', onStray).on('unhandledRejection', onStray);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  const performHooks = {
    log: (message: string) => hooks.onLog(message),
    progress: (done: number, total: number, unit: string) => hooks.onProgress(done, total, unit),
    plugin,
  };
  try {
    return await Promise.race([
      performJob(job, stage, performHooks, signal).catch(thrownResult),
      stopped,
    ]);
  } finally {
    process.off('uncaughtException', onStray).off('unhandledRejection', onStray);
    signal.removeEventListener('abort', onAbort);
  }
}

/**
 * Returns every file below `dir` with its digest. The times of young files are set back before they
 * are hashed, so that a later write shows in the mtime and the file need not be hashed again.
 */
export async function digestOutputs(dir: string): Promise<OutputFile[]> {
  const files: OutputFile[] = [];
  for (const { path: name, size, mtimeMs, nlink } of listFiles(dir)) {
    const file = `${dir}/${name}`;
    // A file with another name may be an input.
    if (nlink === 1 && mtimeMs > Date.now() - SETTLED_MS) setBack(file);
    files.push({ path: name, size, sha256: await sha256File(file, size) });
  }
  return files;
}

function setBack(file: string): void {
  try {
    utimesSync(file, new Date(), new Date(Date.now() - SETTLED_MS));
  } catch (error) {
    // The file belongs to another user. It is hashed again after it has been read.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
  }
}

/**
 * Throws a UserFault if a stage's metrics are not a flat object of finite numbers, because
 * `results`, `diff` and the report would silently leave out the rest.
 */
function checkMetrics(dir: string, files: readonly OutputFile[], stage: string): void {
  if (!files.some(({ path: name }) => name === METRICS)) return;
  const parsed = parseMetrics(readRegularText(`${dir}/${METRICS}`));
  if ('fault' in parsed)
    throw new UserFault(
      `the stage "${stage}" wrote a metrics.json that ${parsed.fault}`,
      'write an object of numbers, such as {"accuracy": 0.9}; JSON has no form for a number ' +
        'that is not finite (JSON.stringify turns it into null)',
    );
}

/** Makes the context of a stage's code in a worker, and checks and hashes the stage's output. */
import { existsSync } from 'node:fs';
import {
  type Job,
  type JobResult,
  type OutputFile,
  type RunContext,
  UserFault,
  type Warning,
} from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { WARNINGS } from '../../plan/keys.ts';
import { openAnswers } from '../../store/answers.ts';
import { fullDiskFault } from '../../store/faults.ts';
import { listFiles, sha256File } from '../../store/files.ts';
import { makeFolder } from '../../store/folders.ts';
import { readRegularText } from '../../store/regular.ts';
import { mapToSources } from './failure.ts';
import { METRICS, parseMetrics } from './metrics.ts';
import { writeWarnings } from './warnings.ts';

interface PerformHooks {
  readonly log: (message: string) => void;
  readonly progress: (done: number, total: number, unit: string) => void;
  /** Returns a plugin that the job names in `uses`, else undefined. */
  readonly plugin: (kind: string, name: string) => unknown;
}

/** The least time between two reports of progress, in ms. The last report is always sent. */
const PROGRESS_MS = 100;

/**
 * Returns the context that a stage's `run` gets. Makes the stage's output folder if it is missing.
 */
export function openContext(
  job: Job,
  hooks: PerformHooks & Pick<RunContext, 'warn'>,
  signal: AbortSignal,
): RunContext {
  if (!existsSync(job.outDir)) makeFolder(job.outDir);
  let lastProgress = 0;
  const { resumeDir, answersDir, limits, experiment } = job;
  // A stage in JavaScript may pass anything.
  const log = (message: unknown): void => hooks.log(String(message));
  const answers = answersDir === undefined ? undefined : openAnswers(answersDir, { log, signal });
  return {
    params: job.params,
    inputs: job.inputs,
    assets: job.assets,
    outDir: job.outDir,
    backend: job.backend,
    signal,
    log,
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
    ...defined({ answers, resumeDir, limits, experiment }),
  };
}

/**
 * Writes the stage's warnings to `outDir`, and returns the result with the digests of all files
 * there. Throws if the stage's outputs have a fault.
 * @param returned what the stage's `run` returned, which must be undefined
 */
export async function doneResult(
  job: Job,
  returned: unknown,
  seconds: number,
  warnings: readonly Warning[],
): Promise<Extract<JobResult, { type: 'done' }>> {
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
 * The least time between measurements of memory, in ms: each takes 50 µs, as a trivial stage does.
 */
const MEMORY_MS = 500;
let measuredAt = Number.NEGATIVE_INFINITY,
  peak = 0;

/** Returns the most memory that this process has had, in MiB; measured at most MEMORY_MS ago. */
function peakMemory(): number {
  const now = performance.now();
  if (now - measuredAt > MEMORY_MS) {
    measuredAt = now;
    peak = process.resourceUsage().maxRSS / 1024;
  }
  return peak;
}

const LONGEST_TEXT = 20_000;
type Thrown = Extract<JobResult, { type: 'fault' }>;

/**
 * Returns the result of a stage that threw: `fault` for a UserFault or a full disk, else `error`.
 * Cuts long texts.
 */
export function thrownResult(thrown: unknown): Exclude<JobResult, { type: 'exit' | 'done' }> {
  const error = fullDiskFault(thrown, 'the store');
  if (!(error instanceof Error))
    return {
      type: 'error',
      message: `it threw ${String(error).slice(0, LONGEST_TEXT)}, which is not an Error`,
      stack: '',
    };
  const { message: said, hint, cutOff } = error as { readonly [field in keyof Thrown]?: unknown };
  const message = String(said).slice(0, LONGEST_TEXT);
  /**
   * Returns an error's stack and, if an outside plugin threw it, the place in the plugin's sources.
   */
  const traced = ({ stack = '' }: Error) => mapToSources(stack.slice(0, LONGEST_TEXT));
  // A UserFault is recognised by its name, since a plugin may have its own copy of the class.
  if (error.name === 'UserFault') {
    const place = error.cause instanceof Error ? traced(error.cause).thrownAt : undefined;
    return {
      type: 'fault',
      message: place === undefined ? message : `${place}: ${message}`,
      ...(typeof hint === 'string' ? { hint: hint.slice(0, LONGEST_TEXT) } : {}),
      ...(cutOff === true ? { cutOff } : {}),
    };
  }
  return { type: 'error', message, ...traced(error) };
}

async function digestOutputs(dir: string): Promise<OutputFile[]> {
  const files: OutputFile[] = [];
  for (const { path: name, size } of listFiles(dir))
    files.push({ path: name, size, sha256: await sha256File(`${dir}/${name}`, size) });
  return files;
}

/**
 * Throws a UserFault if a stage's metrics are not a flat object of finite numbers: `results`,
 * `diff` and the report would silently leave out anything else. A stage without metrics passes.
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

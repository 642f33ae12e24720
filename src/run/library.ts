/**
 * `import { run, plan, results } from 'dosimeter'`: the command line's phases as functions. They
 * print nothing and never end the process. What the user has to mend comes back as diagnostics; an
 * internal error is thrown.
 */
import os from 'node:os';
import { closest } from 'fastest-levenshtein';
import { type BackendName, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import type { Diagnostic, Result } from '../spec/types.ts';
import { systemFault } from '../store/faults.ts';
import type { StopWhen } from './early-results.ts';
import {
  ATTEMPT_LIMIT_OPTIONS,
  type AttemptLimits,
  type PerKind,
} from './execute/attempt-limits.ts';
import { repeatsIn } from './execute/warnings.ts';
import { plannedStages, type Results, resultsOf, type StageInPlan, targetsOf } from './facts.ts';
import type { RunEvent } from './log/events.ts';
import { checkStages, prepare, type Prepared } from './prepare.ts';
import { chosenRemote } from './remote.ts';
import { runPrepared } from './run.ts';
import { defaultStore } from './state-folder.ts';
import { type RunSummary, SpecFault } from './types.ts';

export type { Diagnostic, PerKind, Result, Results, RunEvent, StageInPlan };

export interface SpecOptions {
  /** The folder of the results; default `.dosimeter/store` in the working folder. */
  readonly store?: string;
  /** The compute backend; default the best that this machine has. */
  readonly backend?: BackendName;
  /** The name of one of the spec's profiles; default none: the spec as it is written. */
  readonly profile?: string;
  /** Overrides of fields of the spec: `path=value` each, the value in YAML. */
  readonly set?: readonly string[];
  /** Restricts the grid to the cells that match all of these: a tag, or `path=value[,value]`. */
  readonly only?: readonly string[];
  /** Called with what happens on the way: a download, a lease that a dead process left. */
  readonly onNote?: (message: string) => void;
}

export interface RunOptions extends SpecOptions, AttemptLimits {
  /** Processor cores to use; default all. */
  readonly jobs?: number;
  /** The name of the executor that stages run on; default `local`. */
  readonly executor?: string;
  /**
   * A remote from which entries that the store lacks are fetched: `file:FOLDER` or
   * `s3://BUCKET/PREFIX`; default none.
   */
  readonly remote?: string;
  /** Whether the entries that the run makes are sent to the remote; default false. */
  readonly push?: boolean;
  /** What people should know about the run, as `dosimeter status` shows it. */
  readonly notes?: string;
  /** Whether no more stages start after a failure; default false. */
  readonly failFast?: boolean;
  /** `collapsed`: the run stops once a clean baseline has not learnt the task. */
  readonly stopWhen?: StopWhen;
  /** Whether steps are compiled; default true. The results are the same bit for bit. */
  readonly compile?: boolean;
  /**
   * The most trainings that share one job of a scheduler; default 8. Without a scheduler, the most
   * that take their steps together under the backend `torch`; default 1.
   */
  readonly pack?: number;
  /** When aborted, no more stages start, running ones are ended, and finished ones are kept. */
  readonly signal?: AbortSignal;
  /** Called with each event of the run: a stage that starts or ends, progress, a note. */
  readonly onEvent?: (event: RunEvent) => void;
}

export interface Plan {
  readonly name: string;
  readonly backend: BackendName;
  readonly stages: readonly StageInPlan[];
}

export interface RunResult {
  /** The run's id, for `dosimeter status` and `logs`; null if there was nothing to run. */
  readonly run: string | null;
  readonly ran: number;
  readonly cached: number;
  readonly failed: number;
  readonly blocked: number;
  readonly abandoned: number;
  readonly interrupted: boolean;
  /** Why the run stopped by itself (`stopWhen`); null if it did not. */
  readonly stopped: string | null;
  /** The failed stages, in the order in which they failed. */
  readonly failures: readonly {
    readonly stage: string;
    readonly error: string;
    readonly hint?: string;
    readonly log: string | null;
  }[];
  /** The report's path; null if the spec has no report. */
  readonly report: string | null;
}

/**
 * Returns which stages would run and which are cached, or the faults that `run` would refuse the
 * spec for; `onNote` gets the warnings. Fetches nothing and runs nothing.
 * @param spec path of the YAML file
 */
export function plan(spec: string, options: SpecOptions = {}): Promise<Result<Plan>> {
  return asResult(() =>
    withPrepared(spec, options, false, async (prepared) => {
      const lacking = prepared.statuses.filter(({ state }) => state !== 'cached');
      await checkStages(prepared, lacking, undefined, options.onNote ?? (() => undefined));
      return {
        name: prepared.experiment.name,
        backend: prepared.backend,
        stages: plannedStages(prepared),
      };
    }),
  );
}

/**
 * Returns every number of the finished cells.
 * @param spec path of the YAML file
 */
export function results(spec: string, options: SpecOptions = {}): Promise<Result<Results>> {
  return asResult(() =>
    withPrepared(spec, options, false, async (prepared) =>
      resultsOf(prepared, await targetsOf(prepared), await repeatsIn(prepared)),
    ),
  );
}

/**
 * Runs the stages that are missing. A stage that fails is not a fault of the spec: it is listed in
 * `failures`.
 * @param spec path of the YAML file
 */
export function run(spec: string, options: RunOptions = {}): Promise<Result<RunResult>> {
  return asResult(async () => {
    const { pack = 1, onEvent } = options,
      jobs = options.jobs ?? os.availableParallelism();
    checkNumbers({ jobs, pack });
    return withPrepared(spec, options, true, async (prepared) => {
      const summary = await runPrepared(prepared, {
        ...options,
        jobs,
        signal: options.signal ?? new AbortController().signal,
        argv: ['run', spec],
        note: options.onNote ?? (() => undefined),
        attemptLimits: options,
        remote: chosenRemote(options),
        watch: onEvent && (() => ({ onEvent, close: () => undefined })),
      });
      const { run: id, tally, interrupted, stopped, report } = summary;
      return { run: id, ...tally, interrupted, stopped, failures: listFailures(summary), report };
    });
  });
}

/** Throws UserFault for an option that is not a whole number of at least 1. */
function checkNumbers(given: { readonly [option: string]: number }): void {
  for (const [option, value] of Object.entries(given))
    if (!Number.isInteger(value) || value < 1)
      throw new UserFault(`\`${option}\` must be a whole number of at least 1, got ${value}`);
}

const listFailures = ({ outcomes }: RunSummary): RunResult['failures'] =>
  [...outcomes].flatMap(([stage, outcome]) => {
    if (outcome.state !== 'failed') return [];
    const { error, log, hint } = outcome;
    return [{ stage, error, log, ...defined({ hint }) }];
  });

/**
 * The options of `run` besides those of AttemptLimits, as a record so that the compiler asks for
 * each.
 */
const OWN_OPTIONS: { readonly [O in Exclude<keyof RunOptions, keyof AttemptLimits>]-?: true } = {
  store: true,
  backend: true,
  profile: true,
  set: true,
  only: true,
  onNote: true,
  jobs: true,
  executor: true,
  remote: true,
  push: true,
  notes: true,
  failFast: true,
  stopWhen: true,
  compile: true,
  pack: true,
  signal: true,
  onEvent: true,
};
const OPTIONS = [...Object.keys(OWN_OPTIONS), ...Object.keys(ATTEMPT_LIMIT_OPTIONS)];

/**
 * Checks the types of a call, because callers in plain JavaScript have no compiler to do so.
 * @throws UserFault if the spec is not a path, or an option is unknown or has a wrong type
 */
function checkCall(spec: unknown, options: SpecOptions): void {
  if (typeof spec !== 'string' || spec === '')
    throw new UserFault(
      `a spec is named by the path of its YAML file, got ${spec === '' ? 'nothing' : String(spec)}`,
    );
  for (const name of Object.keys(options))
    if (!OPTIONS.includes(name))
      throw new UserFault(
        `there is no option "${name}"`,
        `did you mean "${closest(name, [...OPTIONS])}"? The options are ${OPTIONS.join(', ')}.`,
      );
  if (!['undefined', 'string'].includes(typeof options.profile))
    throw new UserFault('`profile` is the name of a profile', 'profile: "small"');
  for (const name of ['set', 'only'] as const) {
    const value: unknown = options[name] ?? [];
    if (!Array.isArray(value) || value.some((item) => typeof item !== 'string'))
      throw new UserFault(
        `\`${name}\` is a list of texts`,
        `${name}: [${JSON.stringify(name === 'set' ? 'train.steps=100' : 'adapter.rank=8')}]`,
      );
  }
}

/**
 * Prepares a spec for `use`, returns what `use` returns, and closes the store.
 * @param fetch whether missing sources are fetched
 */
async function withPrepared<T>(
  spec: string,
  options: SpecOptions,
  fetch: boolean,
  use: (prepared: Prepared) => T | Promise<T>,
): Promise<T> {
  checkCall(spec, options);
  const { store = defaultStore, set = [], only = [], onNote = () => undefined } = options;
  const { backend, profile } = options;
  const asked = { store, set, only, backend, profile };
  const prepared = await prepare(spec, asked, { fetch, note: onNote });
  try {
    return await use(prepared);
  } finally {
    prepared.store.close();
  }
}

/**
 * Returns what an action returns. If it throws a fault that the user has to mend, returns the
 * diagnostics; any other error is thrown on.
 */
async function asResult<T>(action: () => Promise<T>): Promise<Result<T>> {
  try {
    return { ok: true, value: await action() };
  } catch (error) {
    if (error instanceof SpecFault) return { ok: false, diagnostics: error.diagnostics };
    const fault = (error as Error | null)?.name === 'UserFault' ? error : systemFault(error);
    if (fault === null) throw error;
    const { message, hint } = fault as UserFault;
    return {
      ok: false,
      diagnostics: [{ code: 'fault', message, range: null, ...defined({ hint }) }],
    };
  }
}

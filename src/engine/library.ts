/**
 * `import { run, plan, results } from 'dosimeter'`: the same phases as the command line's. Nothing is printed and the
 * process is left alone; what is the user's to mend comes back as diagnostics, an internal error is thrown.
 */
import os from 'node:os';
import { closest } from 'fastest-levenshtein';
import type { BackendName } from '../api.ts';
import { UserFault } from '../api.ts';
import type { Patience, PerKind } from '../execute/patience.ts';
import type { RunEvent } from '../execute/types.ts';
import type { Diagnostic, Result } from '../experiment/types.ts';
import { systemFault } from '../store/faults.ts';
import { checkStages } from './check.ts';
import type { Results, StageInPlan } from './facts.ts';
import { plannedStages, resultsOf } from './facts.ts';
import { SpecFault } from './faults.ts';
import { defaultPacking, PACK_MOST, packMemoryMB } from './packing.ts';
import { defaultStore } from './places.ts';
import type { Prepared } from './prepare.ts';
import { prepare } from './prepare.ts';
import { runPrepared } from './run.ts';

export type { Diagnostic, PerKind, Result, Results, RunEvent, StageInPlan };

export interface SpecOptions {
  /** Where results are kept; default `.dosimeter/store` in the working folder. */
  readonly store?: string;
  /** Default: the best that this machine has. */
  readonly backend?: BackendName;
  /** Overrides, `path=value` each, the value in YAML. */
  readonly set?: readonly string[];
  /** Only cells that match all of these: a tag, or `path=value[,value]`. */
  readonly only?: readonly string[];
  /** Told what happens on the way: a download, a lease that was left. */
  readonly onNote?: (message: string) => void;
}

export interface RunOptions extends SpecOptions, Patience {
  /** Processor cores to use; default all. */
  readonly jobs?: number;
  /** Where stages run: an executor's name; default `local`. */
  readonly executor?: string;
  /** Nothing more starts after a failure. */
  readonly failFast?: boolean;
  /** Stages that may run as one job (adapters over one frozen base), at most; default 8, 1: each alone. */
  readonly pack?: number;
  /** Megabytes that such a job may take, by estimate; default half of the machine's memory over the cores. */
  readonly packMemory?: number;
  /** Aborted: nothing more starts, and what is finished is kept. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: RunEvent) => void;
}

export interface Plan {
  readonly name: string;
  readonly backend: BackendName;
  readonly stages: readonly StageInPlan[];
}

export interface RunResult {
  /** The run's id, for `dosimeter status` and `logs`; null where nothing had to run. */
  readonly run: string | null;
  readonly ran: number;
  readonly cached: number;
  readonly failed: number;
  readonly blocked: number;
  readonly abandoned: number;
  readonly interrupted: boolean;
  /** In the order in which they came. */
  readonly failures: readonly {
    readonly stage: string;
    readonly error: string;
    readonly hint?: string;
    readonly log: string | null;
  }[];
  /** The report's path, where the spec has a report. */
  readonly report: string | null;
}

/** What would run, and what is cached, with the faults and warnings that `run` would begin with; fetches nothing, runs nothing. @param spec path of the YAML file */
export function plan(spec: string, options: SpecOptions = {}): Promise<Result<Plan>> {
  return attempt(() =>
    withPrepared(spec, options, false, async (prepared) => {
      await checkStages(
        prepared,
        prepared.statuses.filter(({ state }) => state !== 'cached'),
        options.onNote ?? (() => undefined),
      );
      const jobs = os.availableParallelism();
      return {
        name: prepared.experiment.name,
        backend: prepared.backend,
        stages: await plannedStages(prepared, jobs, defaultPacking(jobs)),
      };
    }),
  );
}

/** Every number of the finished cells. @param spec path of the YAML file */
export function results(spec: string, options: SpecOptions = {}): Promise<Result<Results>> {
  return attempt(() => withPrepared(spec, options, false, resultsOf));
}

/** Runs what is missing. A stage that fails is no fault of the spec: it is in `failures`. @param spec path of the YAML file */
export function run(spec: string, options: RunOptions = {}): Promise<Result<RunResult>> {
  const jobs = options.jobs ?? os.availableParallelism();
  return attempt(async () => {
    if (!Number.isInteger(jobs) || jobs < 1)
      throw new UserFault(`\`jobs\` is a whole number from 1, got ${jobs}`);
    const packing = {
      most: options.pack ?? PACK_MOST,
      memoryMB: options.packMemory ?? packMemoryMB(jobs),
    };
    if (!Number.isInteger(packing.most) || packing.most < 1)
      throw new UserFault(`\`pack\` is a whole number from 1, got ${packing.most}`);
    if (!(packing.memoryMB > 0))
      throw new UserFault(
        `\`packMemory\` is a number of megabytes above 0, got ${packing.memoryMB}`,
      );
    return withPrepared(spec, options, true, async (prepared) => {
      const {
        run: id,
        tally,
        outcomes,
        interrupted,
        report,
      } = await runPrepared(prepared, {
        jobs,
        packing,
        failFast: options.failFast === true,
        signal: options.signal ?? new AbortController().signal,
        argv: ['run', spec],
        note: options.onNote ?? (() => undefined),
        patience: {
          ...(options.retries === undefined ? {} : { retries: options.retries }),
          ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
        },
        ...(options.executor === undefined ? {} : { executor: options.executor }),
        ...(options.onEvent
          ? { watch: () => ({ onEvent: options.onEvent!, close: () => undefined }) }
          : {}),
      });
      const failures = [...outcomes].flatMap(([stage, outcome]) =>
        outcome.state !== 'failed'
          ? []
          : [
              {
                stage,
                error: outcome.error,
                log: outcome.log,
                ...(outcome.hint === undefined ? {} : { hint: outcome.hint }),
              },
            ],
      );
      return { run: id, ...tally, interrupted, failures, report };
    });
  });
}

const SPEC_OPTIONS = [
  'store',
  'backend',
  'set',
  'only',
  'onNote',
] as const satisfies readonly (keyof SpecOptions)[];
const OPTIONS: readonly string[] = [
  ...SPEC_OPTIONS,
  'jobs',
  'executor',
  'failFast',
  'pack',
  'packMemory',
  'signal',
  'onEvent',
  'retries',
  'timeout',
] satisfies readonly (keyof RunOptions)[];

/** Callers in plain JavaScript have no compiler that tells them. @throws UserFault */
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
  for (const name of ['set', 'only'] as const) {
    const value: unknown = options[name] ?? [];
    if (!Array.isArray(value) || value.some((item) => typeof item !== 'string'))
      throw new UserFault(
        `\`${name}\` is a list of texts`,
        `${name}: [${JSON.stringify(name === 'set' ? 'train.steps=100' : 'adapter.rank=8')}]`,
      );
  }
}

async function withPrepared<T>(
  spec: string,
  options: SpecOptions,
  fetch: boolean,
  use: (prepared: Prepared) => T | Promise<T>,
): Promise<T> {
  checkCall(spec, options);
  const { store = defaultStore, backend, set = [], only = [], onNote = () => undefined } = options;
  const prepared = await prepare(
    spec,
    { store, set, only, ...(backend === undefined ? {} : { backend }) },
    { fetch, note: onNote },
  );
  try {
    return await use(prepared);
  } finally {
    prepared.store.close();
  }
}

async function attempt<T>(action: () => Promise<T>): Promise<Result<T>> {
  try {
    return { ok: true, value: await action() };
  } catch (error) {
    if (error instanceof SpecFault) return { ok: false, diagnostics: error.diagnostics };
    const fault = (error as Error | null)?.name === 'UserFault' ? error : systemFault(error);
    if (fault === null) throw error;
    const { message, hint } = fault as UserFault;
    return {
      ok: false,
      diagnostics: [
        { code: 'fault', message, range: null, ...(hint === undefined ? {} : { hint }) },
      ],
    };
  }
}

/**
 * The types of a run that its caller sees: its faults, its options, what a watcher gets, and its
 * summary.
 */
import type { PlannedStage, StageId } from '../plan/types.ts';
import type { Diagnostic } from '../spec/types.ts';
import type { StopWhen } from './early-results.ts';
import type { AttemptLimits } from './execute/attempt-limits.ts';
import type { Durations } from './log/durations.ts';
import type { Outcome, RunEvent } from './log/events.ts';
import type { Note } from './prepare.ts';
import type { RemoteChoice } from './remote.ts';

/** Thrown with every fault of the spec, or of an option that changes the spec. */
export class SpecFault extends Error {
  override readonly name = 'SpecFault';
  constructor(readonly diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map(({ message }) => message).join('\n'));
  }
}

/** What a watcher gets before the first stage. */
export interface RunStart {
  readonly run: string;
  /** The run's folder. */
  readonly dir: string;
  readonly toRun: readonly PlannedStage[];
  readonly cached: number;
  readonly durations: Durations;
  /** How many stages like this one may run at once. */
  readonly places: (stage: PlannedStage) => number;
  /** Whether a scheduler has the stages, so that they go on if the run's process ends. */
  readonly outlives: boolean;
  /** Ends the workers at once. */
  readonly kill: () => Promise<void>;
}

export interface Watcher {
  onEvent(event: RunEvent): void;
  /** Called after the last event, even if the run threw. */
  close(): void;
}

export interface RunPreparedOptions {
  /** How many cores to use. */
  readonly jobs: number;
  readonly failFast?: boolean | undefined;
  /** `collapsed`: the run stops once a clean baseline has not learnt the task. */
  readonly stopWhen?: StopWhen | undefined;
  /** Whether recorded steps may be compiled (docs/decisions/0047). Default: true. */
  readonly compile?: boolean | undefined;
  readonly attemptLimits?: AttemptLimits | undefined;
  /** The name of the executor. Default: `local`. */
  readonly executor?: string | undefined;
  /**
   * The most stages that share a scheduler's job (default: DEFAULT_PACK) or, without a scheduler, a
   * process (default: 1).
   */
  readonly pack?: number | undefined;
  /** The remote from which entries that the store lacks are fetched. Default: none. */
  readonly remote?: RemoteChoice | undefined;
  /** Whether a stage may run. Default: every stage may. */
  readonly mayRun?: ((stage: PlannedStage) => boolean) | undefined;
  /** Once aborted, no more stages start, running ones are ended, and finished ones are kept. */
  readonly signal: AbortSignal;
  /** The command line, recorded with the run. */
  readonly argv: readonly string[];
  /** What people should know about the run, recorded with it. */
  readonly notes?: string | undefined;
  readonly note: Note;
  readonly watch?: ((start: RunStart) => Watcher | Promise<Watcher>) | undefined;
}

export interface RunSummary {
  /** The run's id; null if there was nothing to run. */
  readonly run: string | null;
  readonly tally: { readonly [State in Outcome['state']]: number };
  /**
   * The outcomes of all stages, in the order in which the stages ended; empty if nothing was to
   * run.
   */
  readonly outcomes: ReadonlyMap<StageId, Outcome>;
  readonly interrupted: boolean;
  /** Why the run stopped by itself (`stopWhen`); null if it did not. */
  readonly stopped: string | null;
  readonly seconds: number;
  /** The path of the newest report of the spec, or of the part asked for; null if there is none. */
  readonly report: string | null;
}

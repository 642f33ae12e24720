/** A run as its caller sees it: what it asks for, is told on the way, and gets. */
import type { PackLimits } from '../execute/packer.ts';
import type { Patience } from '../execute/patience.ts';
import type { Outcome, RunEvent } from '../execute/types.ts';
import type { Durations } from '../log/durations.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import type { Note } from './prepare.ts';

/** Told once, before the first stage. */
export interface RunStart {
  readonly run: string;
  /** Of the run: journal, logs, environment. */
  readonly dir: string;
  readonly toRun: readonly PlannedStage[];
  readonly cached: number;
  readonly durations: Durations;
  /** How many stages like this one may run at once. */
  readonly places: (stage: PlannedStage) => number;
  /** Ends the workers without grace, for who can't wait. */
  readonly kill: () => Promise<void>;
}

export interface Watcher {
  onEvent(event: RunEvent): void;
  /** After the last event, whatever happened. */
  close(): void;
}

export interface RunPreparedOptions {
  /** Processor cores to use. */
  readonly jobs: number;
  readonly failFast?: boolean;
  readonly patience?: Patience;
  /** Where stages run; `local` by default. */
  readonly executor?: string;
  /** Left out: `defaultPacking`. */
  readonly packing?: PackLimits;
  /** Left out: every stage. */
  readonly mayRun?: (stage: PlannedStage) => boolean;
  /** Aborted: nothing more starts, what runs is ended, what is finished is kept. */
  readonly signal: AbortSignal;
  /** How the run was asked for; recorded with it. */
  readonly argv: readonly string[];
  readonly note: Note;
  readonly watch?: (start: RunStart) => Watcher | Promise<Watcher>;
}

export interface RunSummary {
  /** The run's id; null where nothing had to run. */
  readonly run: string | null;
  readonly tally: { readonly [State in Outcome['state']]: number };
  /** In the order in which they came; of stages that were looked at. */
  readonly outcomes: ReadonlyMap<StageId, Outcome>;
  readonly interrupted: boolean;
  readonly seconds: number;
  /** The newest report of this spec, and of this part of it, in `.dosimeter/reports`. */
  readonly report: string | null;
}

/**
 * The outcome of each stage of a run, and the events on the way there. The scheduler sends them;
 * journal, logs and progress read them.
 */
import type { BackendName, Digest, Place } from '../../api.ts';
import type { ActionKey, PlannedStage, StageId } from '../../plan/types.ts';

export interface Finished {
  readonly state: 'ran' | 'cached';
  readonly key: ActionKey;
  readonly dir: string;
  readonly content: Digest;
  /** How long the stage took when it ran. */
  readonly seconds: number;
  readonly backend: BackendName | null;
  /** How many bytes its files have. Absent if it did not run. */
  readonly bytes?: number;
}

export interface Failed {
  readonly state: 'failed';
  readonly error: string;
  readonly hint?: string;
  /** Whether the program or a plugin is at fault. The stack is then in the log. */
  readonly internal: boolean;
  readonly log: string | null;
}

export interface Blocked {
  readonly state: 'blocked';
  /** The failed stage that this one would have waited for. */
  readonly by: StageId;
}

/**
 * The outcome of a stage that never ran to its end: the run was stopped, or was not allowed to make
 * it.
 */
export interface Abandoned {
  readonly state: 'abandoned';
}

export type Outcome = Finished | Failed | Blocked | Abandoned;

export type RunEvent =
  | {
      readonly type: 'run-started';
      readonly run: string;
      readonly stages: number;
      readonly cached: number;
    }
  | {
      readonly type: 'stage-started';
      readonly stage: PlannedStage;
      readonly log: string;
      /** The stages that share its job, itself included. Absent if it runs alone. */
      readonly pack?: readonly StageId[];
    }
  | {
      readonly type: 'stage-progress';
      readonly stage: PlannedStage;
      readonly done: number;
      readonly total: number;
      readonly unit: string;
    }
  | {
      /** Where a scheduler has the stage's job. */
      readonly type: 'stage-place';
      readonly stage: PlannedStage;
      readonly place: Place;
    }
  | { readonly type: 'stage-ended'; readonly stage: PlannedStage; readonly outcome: Outcome }
  | { readonly type: 'note'; readonly message: string }
  | {
      readonly type: 'run-ended';
      readonly run: string;
      readonly interrupted: boolean;
      readonly seconds: number;
    };

export type OnEvent = (event: RunEvent) => void;

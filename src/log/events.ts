/** What is told of a run: what became of each stage, and the events on the way. The scheduler makes them; journal, logs and progress read them. */
import type { BackendName, Digest } from '../api.ts';
import type { ActionKey, PlannedStage, StageId } from '../plan/types.ts';

export interface Finished {
  readonly state: 'ran' | 'cached';
  readonly key: ActionKey;
  readonly dir: string;
  readonly content: Digest;
  /** What it took when it ran. */
  readonly seconds: number;
  readonly backend: BackendName | null;
}

export interface Failed {
  readonly state: 'failed';
  readonly error: string;
  readonly hint?: string;
  /** Not the user's fault: the stack is in the log. */
  readonly internal: boolean;
  readonly log: string | null;
}

export interface Blocked {
  readonly state: 'blocked';
  /** The stage that failed first on the way here. */
  readonly by: StageId;
}

/** The run was stopped before it was this stage's turn. */
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
      /** The stages that run as one job with it, itself included; left out: it runs alone. */
      readonly pack?: readonly StageId[];
    }
  | {
      readonly type: 'stage-progress';
      readonly stage: PlannedStage;
      readonly done: number;
      readonly total: number;
      readonly unit: string;
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

/**
 * The outcome of each stage of a run, and the events on the way there. The run sends them; journal,
 * logs and progress read them. The journal's entries and run.log's lines are made here.
 */
import type { BackendName, Digest, Json, JsonObject, Place } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { ActionKey, PlannedStage, StageId } from '../../plan/types.ts';

export interface Finished {
  readonly state: 'ran' | 'cached';
  readonly key: ActionKey;
  readonly dir: string;
  readonly content: Digest;
  /** How long the stage ran, in seconds, in this run or an earlier one. */
  readonly seconds: number;
  readonly backend: BackendName | null;
  /** The bytes of the stage's files; absent if it did not run. */
  readonly bytes?: number;
}

export interface Failed {
  readonly state: 'failed';
  readonly error: string;
  readonly hint?: string;
  /**
   * Whether the failure is an internal error: of this program, of one of its own plugins, or of a
   * process that ended without a result.
   */
  readonly internal: boolean;
  /** The path of the stage's log or the run's; null if neither says more. */
  readonly log: string | null;
}

export type Outcome =
  | Finished
  | Failed
  /** `by`: the failed stage without which this one can't run. */
  | { readonly state: 'blocked'; readonly by: StageId }
  /** The stage did not run to its end: the run was stopped or may not run it. */
  | { readonly state: 'abandoned' };

export type RunEvent =
  | { readonly type: 'run-started'; readonly stages: number; readonly cached: number }
  | {
      readonly type: 'stage-started';
      readonly stage: PlannedStage;
      readonly log: string;
      /** The stages that share the job, this one included; absent if it is alone. */
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
  | { readonly type: 'run-ended'; readonly interrupted: boolean; readonly seconds: number };

export type OnEvent = (event: RunEvent) => void;

function outcomeEntry(outcome: Outcome): JsonObject {
  switch (outcome.state) {
    case 'ran':
    case 'cached':
      return { state: outcome.state, key: outcome.key, seconds: outcome.seconds };
    case 'failed':
      return {
        state: outcome.state,
        error: outcome.error,
        internal: outcome.internal,
        ...defined({ hint: outcome.hint }),
      };
    case 'blocked':
      return { state: outcome.state, by: outcome.by };
    case 'abandoned':
      return { state: outcome.state };
  }
}

/** Returns the journal's entry for an event; null for an event that is not kept. */
export function journalEntry(event: RunEvent): JsonObject | null {
  switch (event.type) {
    case 'run-started':
      return { event: 'started', stages: event.stages, cached: event.cached };
    case 'stage-started':
      return {
        event: 'stage-started',
        stage: event.stage.id,
        kind: event.stage.kind,
        cell: event.stage.cell,
        seed: event.stage.seed,
      };
    case 'stage-progress':
    case 'stage-place':
      return null;
    case 'stage-ended':
      return { event: 'stage-ended', stage: event.stage.id, ...outcomeEntry(event.outcome) };
    case 'note':
      return { event: 'note', message: event.message };
    case 'run-ended':
      return { event: 'ended', interrupted: event.interrupted, seconds: event.seconds };
  }
}

export function logLine({ event, ...rest }: JsonObject): string {
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${textOf(value)}`);
  return [textOf(event), ...fields].join(' ');
}

const textOf = (value: Json | undefined): string =>
  typeof value === 'string' ? value : JSON.stringify(value);

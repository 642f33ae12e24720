/** Writes events in the form of the journal's entries and of run.log's lines. */
import type { Json, JsonObject } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { Outcome, RunEvent } from './events.ts';

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

/** Returns the entry of an event, or null if it is not kept (progress and place of a stage). */
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

/** Turns an entry of the journal into a line of run.log. */
export function logLine({ event, ...rest }: JsonObject): string {
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${textOf(value)}`);
  return [textOf(event), ...fields].join(' ');
}

const textOf = (value: Json | undefined): string =>
  typeof value === 'string' ? value : JSON.stringify(value);

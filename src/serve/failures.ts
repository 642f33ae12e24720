/** Gathers the failures of a run by their cause. */
import type { Mutable } from '../base/record.ts';
import type { RunRecord } from './record.ts';
import type { Failure } from './wire.ts';

/** How many causes, and how many stages of one cause, are shown at most. */
const MOST_CAUSES = 30,
  MOST_STAGES = 20;

/** Returns the causes, the most frequent first. */
export function failuresOf({ stages }: RunRecord): readonly Failure[] {
  const causes = new Map<string, Mutable<Failure> & { stages: number[] }>();
  const causeOf = new Map<string, Mutable<Failure>>();
  for (const [index, { id, state, failure }] of stages.entries()) {
    if (state !== 'failed' || failure === null) continue;
    const name = JSON.stringify(failure);
    const cause = causes.get(name) ?? { ...failure, count: 0, stages: [], blocked: 0 };
    causes.set(name, cause);
    causeOf.set(id, cause);
    cause.count++;
    if (cause.stages.length < MOST_STAGES) cause.stages.push(index);
  }
  for (const { state, by } of stages) {
    const cause = state === 'blocked' && by !== null ? causeOf.get(by) : undefined;
    if (cause !== undefined) cause.blocked++;
  }
  return [...causes.values()].sort((a, b) => b.count - a.count).slice(0, MOST_CAUSES);
}

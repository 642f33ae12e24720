/** The entries that a run made or found, so that the run can be pinned or pushed. */
import path from 'node:path';
import type { ActionKey } from '../plan/types.ts';
import { readRegularOr } from '../store/regular.ts';
import { readJournal } from './log/run-folder.ts';
import { parseRunPlan, PLAN_FILE } from './log/run-plan.ts';

/**
 * Returns the keys of what the run found in the store when it began, and of what it made or found
 * later. Returns a reason if they are not known.
 */
export function runEntries(dir: string): readonly ActionKey[] | string {
  const { events, damaged } = readJournal(dir);
  if (damaged > 0) return 'has a damaged journal';
  if (!events.some(({ event }) => event === 'ended')) return 'did not end';
  const text = readRegularOr(path.join(dir, PLAN_FILE))?.toString(),
    plan = text === undefined ? null : parseRunPlan(text);
  if (plan === null) return `has no ${PLAN_FILE} that this version reads`;
  const keys = new Set<string>();
  for (const { cached } of plan.stages) if (cached !== null) keys.add(cached);
  for (const { event, key } of events)
    if (event === 'stage-ended' && typeof key === 'string') keys.add(key);
  return [...keys] as ActionKey[];
}

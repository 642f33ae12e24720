/**
 * Executes a plan. Every stage that can run does, and a stage that depends on a failed one is
 * blocked. Finished work is kept whatever happens.
 */
import { setMaxListeners } from 'node:events';
import type { Plan, StageId } from '../../plan/types.ts';
import type { ExecuteOptions } from './execution.ts';
import { openExecution, useCached } from './execution.ts';
import { createInputChecks } from './inputs.ts';
import { createLeaser } from './lease.ts';
import { createSettler } from './settle.ts';
import type { StageStatus } from './survey.ts';
import type { Outcome } from './types.ts';

/**
 * @param statuses the survey of this plan, in its order; entries that it found are not looked up
 *   again
 */
export async function executePlan(
  plan: Plan,
  statuses: readonly StageStatus[],
  options: ExecuteOptions,
): Promise<ReadonlyMap<StageId, Outcome>> {
  // Every running stage listens to the signal: with packs, Node would warn of a leak.
  setMaxListeners(0, options.signal);
  const execution = openExecution(plan, options);
  const inputs = createInputChecks(execution);
  const lacking = statuses.filter(({ entry }) => !entry).map(({ stage }) => stage);
  const settler = createSettler(execution, inputs, createLeaser(execution, inputs), lacking);
  const settled = new Map<StageId, Promise<Outcome>>();
  for (const { stage, entry } of statuses) {
    if (entry) {
      execution.outcomes.set(stage.id, useCached(execution, entry));
      continue;
    }
    const upstream = Object.values(stage.inputs).flatMap((id) => settled.get(id) ?? []);
    settled.set(stage.id, settler.settle(stage, upstream));
  }
  await Promise.all(settled.values());
  return execution.outcomes;
}

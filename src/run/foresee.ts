/** Asks an executor what it would submit for the stages that a plan lacks. */
import path from 'node:path';
import { type ForeseenGroup, UserFault } from '../api.ts';
import { foreseeJobs } from './execute/packs.ts';
import { type DemandFacts, estimateDemand } from './execute/resources.ts';
import { checkExecutor, taskCommand } from './executor.ts';
import { openDurations } from './log/durations.ts';
import type { Prepared } from './prepare.ts';
import { jobProgram } from './registry/build.ts';

/**
 * Returns the groups of jobs in the plan's order, as if each stage were ready at once.
 * @throws UserFault if the executor submits nothing, or its settings are at fault
 */
export async function foresee(
  prepared: Prepared,
  executor: string,
  pack: number,
): Promise<readonly ForeseenGroup[]> {
  const { registry, plan, statuses, assets, gpu, store, experiment } = prepared;
  await checkExecutor(registry, executor);
  const descriptor = registry.get('executor', executor)?.descriptor;
  if (descriptor?.foresee === undefined)
    throw new UserFault(
      `the executor "${executor}" submits no jobs`,
      'leave out --executor: dosimeter plan shows what would run',
    );
  const stages = statuses.filter(({ state }) => state !== 'cached').map(({ stage }) => stage);
  const durations = openDurations(store.root);
  const facts: DemandFacts = {
    backend: plan.backend,
    assets,
    computesOnGpu: gpu,
    expect: (stage) => durations.expect(stage),
  };
  const jobs = foreseeJobs(stages, pack).map(async (members) => ({
    kind: members[0]?.kind ?? '',
    stages: await Promise.all(
      members.map(async (stage) => ({
        cpu: Math.max(1, stage.resources.cpu),
        demand: await estimateDemand(stage, facts),
      })),
    ),
  }));
  return descriptor.foresee(await Promise.all(jobs), {
    env: process.env,
    spec: path.resolve(experiment.file),
    taskCommand: taskCommand(jobProgram()),
  });
}

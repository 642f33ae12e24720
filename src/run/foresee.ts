/** What an executor would submit for the stages that a plan lacks. */
import path from 'node:path';
import type { ForeseenGroup, ForeseenJob } from '../api.ts';
import { UserFault } from '../api.ts';
import type { PlannedStage } from '../plan/types.ts';
import type { PackLimits } from './execute/packer.ts';
import { foreseePacks } from './execute/packer.ts';
import { demandOf } from './execute/resources.ts';
import { checkExecutor, taskCommand } from './executor.ts';
import { openDurations } from './log/durations.ts';
import type { Prepared } from './prepare.ts';
import { jobProgram } from './registry/registry.ts';

/**
 * Returns the groups of jobs in the plan's order, as if each stage were ready at once.
 * @throws UserFault if the executor submits nothing, or its settings are at fault
 */
export async function foresee(
  prepared: Prepared,
  executor: string,
  packing: PackLimits,
): Promise<readonly ForeseenGroup[]> {
  const { registry, plan, statuses, assets, experiment } = prepared;
  await checkExecutor(registry, executor);
  const descriptor = registry.get('executor', executor)?.descriptor;
  if (descriptor?.foresee === undefined)
    throw new UserFault(
      `the executor "${executor}" submits no jobs`,
      'leave out --executor: dosimeter plan shows what would run',
    );
  const stages = statuses
    .filter(({ stage, state }) => state !== 'cached' && stage.descriptor.inline !== true)
    .map(({ stage }) => stage);
  const packs = await foreseePacks(stages, packing, assets);
  const packed = new Set(packs.flat());
  const alone = stages.filter((stage) => !packed.has(stage)).map((stage) => [stage]);
  const order = new Map(plan.stages.map((stage, i) => [stage, i] as const));
  const first = ([stage]: readonly PlannedStage[]): number =>
    stage === undefined ? 0 : (order.get(stage) ?? 0);
  const jobs = [...packs, ...alone].sort((a, b) => first(a) - first(b));
  return descriptor.foresee(await Promise.all(jobs.map((job) => jobOf(prepared, job))), {
    env: process.env,
    spec: path.resolve(experiment.file),
    taskCommand: taskCommand(jobProgram()),
  });
}

async function jobOf(
  { plan, assets, gpu, store }: Prepared,
  stages: readonly PlannedStage[],
): Promise<ForeseenJob> {
  const durations = openDurations(store.root);
  const demands = await Promise.all(
    stages.map((stage) =>
      demandOf(stage, {
        backend: plan.backend,
        assets,
        computesOnGpu: gpu,
        expect: (one) => durations.expect(one),
      }),
    ),
  );
  const seconds = demands.map((demand) => demand.seconds).filter((one) => one !== undefined);
  const memoryMB = Math.max(0, ...demands.map((demand) => demand.memoryMB ?? 0));
  return {
    kind: stages[0]?.kind ?? '',
    stages: stages.length,
    cpu: Math.max(1, ...stages.map(({ resources }) => resources.cpu)),
    demand: {
      gpu: Math.max(0, ...demands.map(({ gpu: gpus }) => gpus)),
      compute: demands.some(({ compute }) => compute),
      ...(seconds.length === stages.length
        ? { seconds: seconds.reduce((sum, one) => sum + one, 0) }
        : {}),
      ...(memoryMB === 0 ? {} : { memoryMB }),
    },
  };
}

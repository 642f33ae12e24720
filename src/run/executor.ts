/** Finds and opens the executor of a run, and asks one what it would submit. */
import path from 'node:path';
import { type Executor, type ForeseenGroup, UserFault } from '../api.ts';
import type { DemandFacts } from './execute/resources.ts';
import type { Prepared } from './prepare.ts';
import type { Registry } from './registry/types.ts';

export const defaultExecutor = 'local';

export interface ExecutorPlace {
  /** How many cores the run may use on this machine. */
  readonly cores: number;
  /** The run's folder. */
  readonly dir: string;
  readonly log: (message: string) => void;
  readonly note: (message: string) => void;
  /** The spec's path. */
  readonly spec: string;
  /** The store's folder. */
  readonly store: string;
  /** Whether stages may compile steps. */
  readonly compile: boolean;
}

/**
 * Checks that there is an executor of this name.
 * @throws UserFault if there is none
 */
export async function checkExecutor(registry: Registry, name: string): Promise<void> {
  if (registry.get('executor', name)) return;
  const { didYouMean, nearest } = await import('../spec/suggest.ts');
  const names = registry.names('executor');
  const close = nearest(name, names);
  throw new UserFault(
    `there is no executor "${name}"`,
    close
      ? didYouMean(close.word)
      : `the executors are ${names.join(', ')}; a spec's \`plugins\` may bring more`,
  );
}

/**
 * Opens an executor for a run. It has to be in the registry (`checkExecutor`).
 * @throws UserFault if the executor can't work on this machine
 */
export async function openExecutor(
  registry: Registry,
  name: string,
  { cores, dir, log, note, spec, store, compile }: ExecutorPlace,
): Promise<Executor> {
  const [{ createPool }, { jobProgram, workerModule }] = await Promise.all([
    import('./execute/pool.ts'),
    import('./registry/build.ts'),
  ]);
  const plugin = registry.get('executor', name);
  if (!plugin) throw new Error(`no executor plugin "${name}"`);
  const env = compile ? process.env : { ...process.env, DOSIMETER_COMPILE: '0' };
  return plugin.descriptor.open({
    cores,
    dir: path.resolve(dir),
    env,
    log,
    note,
    spec: path.resolve(spec),
    spool: path.join(path.resolve(store), 'spool', name),
    workers: (limit) => createPool({ module: workerModule(), limit, env }),
    command: (job, result) => [
      ...jobProgram(),
      'exec',
      '--job',
      path.resolve(job),
      '--result',
      path.resolve(result),
    ],
    taskCommand: taskCommand(jobProgram()),
  });
}

/**
 * Returns the command that performs a task; the path of the task's file has to follow.
 * @param program the command that starts dosimeter
 */
const taskCommand = (program: readonly string[]): readonly string[] => [
  ...program,
  'exec',
  '--task',
];

/**
 * Returns the groups of jobs that an executor would submit if all stages that are not cached were
 * ready. The executor gets the jobs in the plan's order.
 * @param pack the most stages in a job
 * @throws UserFault if the executor submits nothing, or its settings have a fault
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
  const [{ foreseeJobs }, { estimateDemand }, { openDurations }, { jobProgram }] =
    await Promise.all([
      import('./execute/packs.ts'),
      import('./execute/resources.ts'),
      import('./log/durations.ts'),
      import('./registry/build.ts'),
    ]);
  const stages = statuses.filter(({ state }) => state !== 'cached').map(({ stage }) => stage);
  const durations = openDurations(store.root, plan.backend);
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

/** What the tests of this folder share: projects, runs on Slurm, and what must hold after each. */
import { setTimeout as sleep } from 'node:timers/promises';
import type * as uvu from 'uvu';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Project, Said, Started } from '../rig/project.ts';
import { type Cluster, type ClusterOptions, startCluster } from './cluster.ts';

export { createSlurmGrid as grid } from './grid.ts';

/** Starts a run on Slurm in which every training is a job. */
export const start = (
  project: Project,
  { env }: Cluster,
  args: readonly string[] = [],
  more: Readonly<Record<string, string>> = {},
): Started =>
  project.startWith(
    { env: { ...env, ...more } },
    ...['run', 'spec.yaml', '--executor', 'slurm', '--pack', '1', ...args],
  );

/** Runs on Slurm, and asserts that it ends well. */
export async function succeeds(project: Project, cluster: Cluster): Promise<Said> {
  const said = await start(project, cluster).ended;
  assert.is(said.code, 0, said.stderr);
  return said;
}

/** Waits until something holds; fails after two minutes. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 120_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited in vain for: ${what}`);
    await sleep(50);
  }
}

export const began = (project: Project, n: number) => () => project.lines('began.log').length >= n;

/** Asserts that each stage ran once, never twice at the same time. */
export function ranOnce(project: Project, stages: number): void {
  const ran = project.lines('ran.log');
  assert.is(new Set(ran).size, stages, ran.join(', '));
  assert.is(ran.length, stages, ran.join(', '));
  assert.equal(project.lines('twice.log'), [], 'performed by two processes at once');
}

/** How often jobs of this project's trainings were submitted, by Slurm's own list. */
export const submissions = async (
  cluster: Cluster,
  before: ReadonlySet<string>,
): Promise<string[]> =>
  [...(await cluster.jobs('s-train')).keys()].filter((name) => !before.has(name));

export const known = async (cluster: Cluster): Promise<ReadonlySet<string>> =>
  new Set((await cluster.jobs('s-train')).keys());

/** A suite with a cluster of its own. After each test its jobs are cancelled. */
export function slurmSuite(name: string, options?: ClusterOptions): uvu.Test<{ cluster: Cluster }> {
  const test = suite<{ cluster: Cluster }>(name);
  test.before((context) => {
    context.cluster = startCluster(options);
  });
  test.after.each(async ({ cluster }) => {
    await cluster.slurm('scancel', '--me'); // what a test that failed has left
  });
  test.after((context: { readonly cluster?: Cluster }) => context.cluster?.stop());
  return test;
}

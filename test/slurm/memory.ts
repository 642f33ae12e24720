/** A job that takes more memory than it asked for, however Slurm finds that out. */
import * as assert from 'uvu/assert';
import type { Cluster } from './cluster.ts';
import { QUICK } from './grid.ts';
import { grid, ranOnce, start, succeeds } from './rig.ts';

/**
 * Asserts that Slurm ends a job that takes more than it asked for, that the run says so, and that
 * the job gets more only if the profile says so.
 */
export async function outgrowsItsMemory(cluster: Cluster): Promise<void> {
  const project = grid({ seeds: [1] });
  project.write('does.json', '{"1":"eat"}');
  const said = await start(project, cluster).ended;
  assert.is(said.code, 1, said.stderr);
  assert.match(said.stderr, /Slurm job \d+ ran out of memory \(512 MB\)/);
  assert.match(said.stderr, /raise `memory_mb` or `memory_retries` of its stage kind/);
  assert.not.match(said.stderr, /submitted again/);
  project.write('slurm.yaml', [...QUICK, 'memory_retries: 2'].join('\n'));
  const again = await succeeds(project, cluster);
  assert.match(
    again.stderr,
    /ran out of memory \(512 MB\) and gets twice as much; its stages are submitted again/,
  );
  ranOnce(project, 2);
}

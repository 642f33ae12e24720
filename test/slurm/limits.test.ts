/**
 * Limits as a real Slurm sets and words them: on the jobs that it knows, on the length of an array,
 * and on memory where there are no cgroups.
 */
import * as assert from 'uvu/assert';
import { QUICK } from './grid.ts';
import { outgrowsItsMemory } from './memory.ts';
import { grid, known, ranOnce, slurmSuite, start, submissions } from './rig.ts';

const MAX_JOBS = 6,
  MAX_ARRAY = 4;
const test = slurmSuite('slurm/limits', {
  cgroups: false,
  maxJobs: MAX_JOBS,
  maxArray: MAX_ARRAY,
  jobAge: 2,
});

const seeds = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

test('arrays keep to MaxArraySize', async ({ cluster }) => {
  const project = grid({ seeds: seeds(MAX_ARRAY + 1) });
  const before = await known(cluster);
  const said = await start(project, cluster).ended;
  assert.is(said.code, 0, said.stderr);
  ranOnce(project, 2 * (MAX_ARRAY + 1));
});

test('more jobs than MaxJobCount are submitted as others end, each once', async ({ cluster }) => {
  const project = grid({
    seeds: seeds(3 * MAX_JOBS),
    profile: [...QUICK, 'local: [s-evaluate]', 'call_timeout: 4s'],
  });
  const said = await start(project, cluster).ended;
  assert.is(said.code, 0, said.stderr);
  assert.match(
    said.stderr,
    /temporarily unable to accept job.*; the rest is submitted as jobs end/,
  );
  ranOnce(project, 6 * MAX_JOBS);
});

test('a job out of memory is told as such where there are no cgroups', async ({ cluster }) => {
  await outgrowsItsMemory(cluster);
});

test.run();

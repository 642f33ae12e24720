/**
 * Limits as a real Slurm sets and words them: on the jobs that it knows, on the length of an array,
 * and on memory where there are no cgroups.
 */
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { fakes } from './cluster.ts';
import { QUICK } from './grid.ts';
import { outgrowsItsMemory } from './memory.ts';
import { grid, ranOnce, slurmSuite, start } from './rig.ts';

const MAX_JOBS = 5,
  MAX_ARRAY = 3;
const test = slurmSuite('slurm/limits', {
  cgroups: false,
  maxJobs: MAX_JOBS,
  maxArray: MAX_ARRAY,
  jobAge: 2,
});

const seeds = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
/** Only trainings are jobs. */
const PROFILE = [...QUICK, 'local: [s-evaluate]', 'call_timeout: 5s'];

test('arrays keep to MaxArraySize, and jobs beyond MaxJobCount wait until others have ended', async ({
  cluster,
}) => {
  const count = 2 * MAX_JOBS;
  const project = grid({ seeds: seeds(count), profile: PROFILE });
  const {
    dir,
    path: PATH,
    clean,
  } = fakes({
    sbatch: 'case " $* " in *" --array="*) echo "$@" >>$HERE/arrays;; esac\nexec $REAL "$@"',
  });
  const said = await start(project, cluster, [], { PATH }).ended;
  const arrays = readFileSync(`${dir}/arrays`, 'utf8').matchAll(/--array=0-(\d+)/g);
  clean();
  assert.is(said.code, 0, said.stderr);
  assert.match(
    said.stderr,
    /temporarily unable to accept job.*; the rest is submitted as jobs end/,
  );
  for (const [, last] of arrays) assert.ok(Number(last) < MAX_ARRAY, `0-${String(last)}`);
  ranOnce(project, 2 * count);
});

test('a job out of memory is told as such where there are no cgroups', async ({ cluster }) => {
  await outgrowsItsMemory(cluster);
});

test.run();

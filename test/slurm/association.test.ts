/** A limit of an association on submitted jobs, as slurmdbd and slurmctld set and word it. */
import * as assert from 'uvu/assert';
import { QUICK } from './grid.ts';
import { grid, ranOnce, slurmSuite, start } from './rig.ts';

const LIMIT = 3;
const test = slurmSuite('slurm/association', { submitLimit: LIMIT });

test('jobs beyond MaxSubmitJobs of an association are submitted as others end', async ({
  cluster,
}) => {
  const count = 2 * LIMIT + 1;
  const project = grid({
    seeds: Array.from({ length: count }, (_, i) => i + 1),
    profile: [...QUICK, 'local: [s-evaluate]'],
  });
  const said = await start(project, cluster).ended;
  assert.is(said.code, 0, said.stderr);
  assert.match(said.stderr, /AssocMaxSubmitJobLimit.*; the rest is submitted as jobs end/);
  ranOnce(project, 2 * count);
  const ended = await cluster.slurm(
    'sacct',
    '-X',
    '-n',
    '-P',
    '-o',
    'JobName,State',
    '-S',
    'now-1hour',
  );
  const names = ended.trim().split('\n');
  assert.is(names.length, count, ended);
  assert.ok(
    names.every((line) => /^dosimeter-s-train-\w+\|COMPLETED$/.test(line)),
    ended,
  );
});

test.run();

/** SIGKILL anywhere in a run, and the run again: what snakemake, wireit, doit and make each get wrong in a way of their own. */
import path from 'node:path';
import * as assert from 'uvu/assert';
import { randomStream } from '../../src/random/random.ts';
import type { Started } from '../rig/project.ts';
import { fresh, gridSuite, published, settle, times } from './grid.ts';

const test = gridSuite('faults/kill');

const KILLS = times(16, 200);

test(`${KILLS} kills at random points: every stage that was published stays, and the results are those of a run that nothing disturbed`, async ({
  project,
  expected,
  took,
}) => {
  const random = randomStream(1, 'faults', 'kill');
  fresh(project);
  // Of what a whole run takes; shorter whenever a run was faster than its kill.
  let span = took,
    kills = 0,
    grids = 0,
    early = 0;
  while (kills < KILLS) {
    const before = published(project),
      ran = project.lines('ran.log').length;
    const run = project.start('run', 'spec.yaml', '--jobs', '2');
    const timer = setTimeout(() => run.process.kill('SIGKILL'), random.uniform() * span);
    const { code, signal, stderr } = await run.ended;
    clearTimeout(timer);
    assert.not.match(stderr, /another run is making it/, 'it waits for a process that is gone');
    const again = project
      .lines('ran.log')
      .slice(ran)
      .filter((name) => before.has(name));
    assert.equal(again, [], `ran again although they were published:\n${stderr}`);
    if (signal === 'SIGKILL') kills++;
    else {
      assert.is(code, 0, stderr);
      early++;
      span *= 0.9;
    }
    // A killed grid is ended after two kills or so, and the next begins with an empty store.
    if (published(project).size >= 20 || random.uniform() < 0.3 || signal === null) {
      await settle(project, expected);
      grids++;
      fresh(project);
    }
  }
  await settle(project, expected);
  console.log(
    `${kills} kills, ${grids + 1} grids run to their end, ${early} runs were faster than the kill`,
  );
});

const preload = new URL('./crash.mjs', import.meta.url).href;

for (const [role, torn, points] of [
  ['run', false, times(8, Number.POSITIVE_INFINITY)],
  ['run', true, times(3, 60)],
  ['worker', true, times(3, Number.POSITIVE_INFINITY)],
] as const) {
  test(`a kill ${torn ? 'in the middle of' : 'before'} a change to the disk, in the ${role === 'run' ? 'scheduler' : 'worker'}`, async ({
    project,
    expected,
  }) => {
    const crashing = (at: number): Started =>
      project.startWith(
        {
          env: {
            NODE_OPTIONS: `--import ${preload}`,
            CRASH_IN: role,
            CRASH_AT: String(at),
            CRASH_TORN: torn ? '1' : '0',
            CRASH_COUNT: path.join(project.dir, 'count'),
            CRASH_ONCE: path.join(project.dir, 'once'),
          },
        },
        'run',
        'spec.yaml',
        '--jobs',
        '2',
      );
    fresh(project);
    const { code, stderr } = await crashing(0).ended;
    assert.is(code, 0, stderr);
    const count = project.read('count').length;
    assert.ok(count >= 4, `${count} calls`);
    const step = Math.max(1, count / points);
    for (let at = 1; at <= count; at += step) {
      fresh(project);
      const said = await crashing(Math.floor(at)).ended;
      // A worker's end fails its stage; the last calls of a run need not be made the same number of times again.
      const ended =
        role === 'run'
          ? said.signal === 'SIGKILL' || at > count - 10
          : said.code === 1 || said.code === 0;
      assert.ok(
        ended,
        `call ${Math.floor(at)} of ${count}: ${String(said.signal)} ${String(said.code)}\n${said.stderr}`,
      );
      const before = published(project),
        ran = project.lines('ran.log').length;
      await settle(project, expected);
      // Of the report there are two: one without what failed.
      if (role === 'worker') before.delete('report');
      assert.equal(
        project
          .lines('ran.log')
          .slice(ran)
          .filter((name) => before.has(name)),
        [],
        `after call ${Math.floor(at)} of ${count}`,
      );
    }
    console.log(`${Math.min(count, points)} of ${count} calls`);
  });
}

test.run();

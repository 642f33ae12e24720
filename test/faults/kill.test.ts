/** SIGKILL anywhere in a run, and then the run again. */
import path from 'node:path';
import * as assert from 'uvu/assert';
import { randomStream } from '../../src/base/random.ts';
import type { Started } from '../rig/project.ts';
import { fresh, gridSuite, published, ranAgain, settle, times } from './grid.ts';

const test = gridSuite('faults/kill');

const KILLS = times(16, 200);

test(`published stages survive ${KILLS} kills, and the results are those of a whole run`, async ({
  project,
  expected,
  took,
}) => {
  const random = randomStream(1, 'faults', 'kill');
  fresh(project);
  // Kills come within this time, which is shortened whenever a run ends before its kill.
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
    assert.not.match(stderr, /another run is making it/, 'the run waited for a dead process');
    const again = ranAgain(project, before, ran);
    assert.equal(again, [], `stages ran again although they were published:\n${stderr}`);
    if (signal === 'SIGKILL') kills++;
    else {
      assert.is(code, 0, stderr);
      early++;
      span *= 0.9;
    }
    // After about two kills the grid is run to its end, and the next one starts afresh.
    if (published(project).size >= 20 || random.uniform() < 0.3 || signal === null) {
      await settle(project, expected);
      grids++;
      fresh(project);
    }
  }
  await settle(project, expected);
  console.log(`${kills} kills, ${grids + 1} grids run to their end, ${early} runs ended first`);
});

const preload = new URL('./crash.mjs', import.meta.url).href;

for (const [role, torn, points] of [
  ['run', false, times(8, Number.POSITIVE_INFINITY)],
  ['run', true, times(3, 60)],
  ['worker', true, times(3, Number.POSITIVE_INFINITY)],
] as const) {
  const when = torn ? 'in the middle of' : 'before',
    where = role === 'run' ? 'scheduler' : 'worker';
  test(`a kill ${when} a change to the disk, in the ${where}`, async ({ project, expected }) => {
    const crashing = (at: number): Started => {
      project.write('count', '');
      return project.startWith(
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
    };
    fresh(project);
    const counted = await crashing(0).ended;
    assert.is(counted.code, 0, counted.stderr);
    const count = project.read('count').length;
    assert.ok(count >= 4, `${count} calls`);
    const step = Math.max(1, count / points);
    let killed = 0,
      runs = 0;
    for (let at = 1; at <= count; at += step) {
      fresh(project);
      const said = await crashing(Math.floor(at)).ended;
      // A killed worker fails its stage. A run whose workers are slow makes fewer calls, since it
      // flushes more entries at once; it may end before the call at which it was to be killed.
      const call = `call ${Math.floor(at)} of ${count}`,
        { signal, code } = said,
        made = project.read('count').length;
      const isExpected =
        role === 'run'
          ? signal === 'SIGKILL' || (code === 0 && made < at)
          : code === 1 || code === 0;
      runs++;
      if (signal === 'SIGKILL' || code === 1) killed++;
      assert.ok(isExpected, `${call}: ${String(signal)} ${String(code)}\n${said.stderr}`);
      const before = published(project),
        ran = project.lines('ran.log').length;
      await settle(project, expected);
      // There are two reports: the first one was made without the stage that failed.
      if (role === 'worker') before.delete('report');
      assert.equal(ranAgain(project, before, ran), [], `after ${call}`);
    }
    assert.ok(killed >= runs / 2, `${killed} of ${runs} were killed`);
    console.log(`killed at ${killed} of ${count} calls`);
  });
}

test.run();

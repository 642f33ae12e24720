/** gc, verify and runs on one store at the same time, and gc that is killed: nothing is lost. */
import { cpSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { randomStream } from '../../src/base/random.ts';
import type { Said, Started } from '../rig/project.ts';
import { fresh, gridSuite, published, ranAgain, settle, STAGES, times, watch } from './grid.ts';

const test = gridSuite('faults/gc');

const random = randomStream(1, 'faults', 'gc');
const SWEPT = times(2, 30),
  VERIFIED = times(2, 20),
  KILLED = times(3, 30);

/** Repeats a command until `first` has ended. */
async function during(first: Started, again: () => Promise<Said>): Promise<readonly Said[]> {
  const said: Said[] = [];
  const watched = watch(first);
  while (!watched.hasEnded) said.push(await again());
  return said;
}

test(`a run loses no stage while gc sweeps again and again (${SWEPT} times)`, async ({
  project,
  expected,
}) => {
  let refused = 0;
  for (let n = 0; n < SWEPT; n++) {
    fresh(project);
    const run = project.start('run', 'spec.yaml', '--jobs', '2');
    const sweeps = await during(run, () => project.dosimeter('gc', '--max-size', '0'));
    const { code, stderr } = await run.ended;
    assert.is(code, 0, stderr);
    const ran = project.lines('ran.log');
    assert.equal(
      [ran.length, new Set(ran).size],
      [STAGES, STAGES],
      `round ${n}: ${ran.sort().join(', ')}`,
    );
    for (const sweep of sweeps) {
      if (sweep.code === 0) continue;
      assert.match(sweep.stderr, /a run is using .*\(process \d+\)\n {2}wait for it to end/);
      refused++;
    }
    await settle(project, expected);
  }
  assert.ok(refused > 0, "gc was never in a run's way");
});

test(`verify does not call an entry damaged that a run is writing (${VERIFIED} times)`, async ({
  project,
  expected,
}) => {
  let looks = 0;
  for (let n = 0; n < VERIFIED; n++) {
    fresh(project);
    const run = project.start('run', 'spec.yaml', '--jobs', '2');
    for (const { code, stdout, stderr } of await during(run, () => project.dosimeter('verify'))) {
      assert.is(code, 0, stdout + stderr);
      looks++;
    }
    assert.is((await run.ended).code, 0);
    assert.is(project.lines('ran.log').length, STAGES);
    await settle(project, expected);
  }
  assert.ok(looks > VERIFIED);
});

test(`a run and gc that start together survive each other being killed (${KILLED} times)`, async ({
  project,
  expected,
  took,
}) => {
  for (let n = 0; n < KILLED; n++) {
    const run = ['run', 'spec.yaml'],
      gc = ['gc', '--max-size', '300kB'];
    const [first, second] = random.integer(2) === 0 ? [run, gc] : [gc, run];
    const victim = project.start(...first),
      survivor = project.start(...second);
    const timer = setTimeout(() => victim.process.kill('SIGKILL'), random.uniform() * took);
    const { code, stderr } = await survivor.ended;
    await victim.ended;
    clearTimeout(timer);
    assert.ok(code === 0 || /a run is using/.test(stderr), stderr);
    const verified = await project.dosimeter('verify');
    assert.is(verified.code, 0, verified.stdout);
    const before = published(project),
      ran = project.lines('ran.log').length;
    await settle(project, expected);
    assert.equal(ranAgain(project, before, ran), [], `round ${n}`);
    if (random.integer(2) === 0) fresh(project);
  }
});

const crashing = new URL('./crash.mjs', import.meta.url).href,
  stopping = new URL('./preload.mjs', import.meta.url).href;

test('gc that is killed at any change to the disk leaves a store that is whole', async ({
  project,
  expected,
}) => {
  await settle(project, expected);
  const store = path.join(project.dir, '.dosimeter/store'),
    copy = path.join(project.dir, 'store-copy');
  cpSync(store, copy, { recursive: true, preserveTimestamps: true });
  const crashAt = (at: number): Promise<Said> => {
    for (const name of ['count', 'once']) rmSync(path.join(project.dir, name), { force: true });
    rmSync(store, { recursive: true });
    cpSync(copy, store, { recursive: true, preserveTimestamps: true });
    return project.startWith(
      {
        env: {
          NODE_OPTIONS: `--import ${crashing}`,
          CRASH_IN: 'run',
          CRASH_AT: String(at),
          CRASH_TORN: '0',
          CRASH_COUNT: path.join(project.dir, 'count'),
          CRASH_ONCE: path.join(project.dir, 'once'),
        },
      },
      'gc',
      '--max-size',
      '300kB',
    ).ended;
  };
  const whole = await crashAt(0);
  assert.is(whole.code, 0, whole.stderr);
  const { size } = published(project);
  assert.ok(size > 0 && size < STAGES, 'gc sweeps some of the entries');
  const count = project.read('count').length,
    step = Math.max(1, count / times(4, 60));
  for (let at = 1; at <= count; at += step) {
    assert.is(
      (await crashAt(Math.floor(at))).signal,
      'SIGKILL',
      `call ${Math.floor(at)} of ${count}`,
    );
    const verified = await project.dosimeter('verify');
    assert.is(verified.code, 0, `${verified.stdout} after call ${Math.floor(at)}`);
    const before = published(project),
      ran = project.lines('ran.log').length;
    await settle(project, expected);
    assert.equal(ranAgain(project, before, ran), [], `after call ${Math.floor(at)}`);
  }
});

test('a run waits for a gc, and goes on when the gc is killed', async ({ project, expected }) => {
  fresh(project);
  // This gc stops at its first rename, as if on a slow disk.
  const gate = path.join(project.dir, 'gate');
  project.write('.dosimeter/store/damaged/left/x', 'x');
  const gc = project.startWith(
    {
      env: {
        NODE_OPTIONS: `--import ${stopping}`,
        STOP_AT_RENAME: gate,
      },
    },
    'gc',
  );
  while (!project.exists('gate')) await sleep(10);
  const run = project.start('run', 'spec.yaml');
  await run.saw('gc is sweeping');
  assert.equal(project.lines('ran.log'), []);
  gc.process.kill('SIGKILL');
  const { code, stderr } = await run.ended;
  assert.is(code, 0, stderr);
  await settle(project, expected);
});

test.run();

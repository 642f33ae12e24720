/** Several runs on one store at once: each stage runs once, whoever is killed. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomStream } from '../../src/random/random.ts';
import type { Project } from '../rig/project.ts';
import { STAGES, contentsOf, createGrid, fresh, published, settle, times } from './grid.ts';

const test = suite<{ project: Project; expected: { readonly [file: string]: string }; took: number }>('faults/concurrent');
test.before(async (context) => {
  context.project = createGrid();
  const started = performance.now();
  const { code, stderr } = await context.project.dosimeter('run', 'spec.yaml', '--jobs', '2');
  context.took = performance.now() - started;
  assert.is(code, 0, stderr);
  context.expected = contentsOf(context.project);
});
test.after(({ project }) => project.clean());

const random = randomStream(1, 'faults', 'concurrent');
const PAIRS = times(5, 50), KILLED = times(3, 25);

test(`${PAIRS} times two runs at once: each stage runs once`, async ({ project, expected, took }) => {
  for (let n = 0; n < PAIRS; n++) {
    fresh(project);
    const first = project.start('run', 'spec.yaml', '--jobs', String(1 + random.integer(2)));
    // Together, or the second when the first is on its way.
    await sleep(random.integer(2) * random.uniform() * took / 2);
    const second = project.start('run', 'spec.yaml', '--jobs', String(1 + random.integer(2)));
    for (const { code, stderr } of await Promise.all([first.ended, second.ended])) assert.is(code, 0, stderr);
    const ran = project.lines('ran.log');
    assert.equal([ran.length, new Set(ran).size], [STAGES, STAGES], `round ${n}: ${ran.sort().join(', ')}`);
    await settle(project, expected);
  }
});

test(`${KILLED} times one of two runs is killed: the other takes over and ends by itself`, async ({ project, expected, took }) => {
  for (let n = 0; n < KILLED; n++) {
    fresh(project);
    const runs = [project.start('run', 'spec.yaml', '--jobs', '1'), project.start('run', 'spec.yaml', '--jobs', '1')];
    await sleep((0.2 + 0.7 * random.uniform()) * took);
    const before = published(project), ran = project.lines('ran.log').length;
    const [victim, survivor] = random.integer(2) === 0 ? runs : runs.toReversed();
    victim!.process.kill('SIGKILL');
    const { code, stderr } = await survivor!.ended;
    assert.is(code, 0, stderr);
    await victim!.ended;
    assert.equal(project.lines('ran.log').slice(ran).filter((name) => before.has(name)), [], `round ${n}`);
    await settle(project, expected);
  }
});

test.run();

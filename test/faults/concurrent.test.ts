/** Several runs on one store at the same time: each stage runs once, even if a run is killed. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { randomStream } from '../../src/base/random.ts';
import {
  contentsOf,
  fresh,
  gridSuite,
  published,
  ranAgain,
  settle,
  STAGES,
  times,
  watch,
} from './grid.ts';

const test = gridSuite('faults/concurrent');

const random = randomStream(1, 'faults', 'concurrent');
const PAIRS = times(5, 50),
  KILLED = times(3, 25);

test(`each stage runs once when two runs go at the same time (${PAIRS} times)`, async ({
  project,
  expected,
  took,
}) => {
  for (let n = 0; n < PAIRS; n++) {
    fresh(project);
    const jobs = (): string => (n % 2 === 0 ? '2' : String(1 + random.integer(2)));
    const first = project.start('run', 'spec.yaml', '--jobs', jobs());
    // Both start together, or the second while the first is running.
    await sleep((random.integer(2) * random.uniform() * took) / 2);
    const second = project.start('run', 'spec.yaml', '--jobs', jobs());
    const said = await Promise.all([first.ended, second.ended]);
    for (const { code, stderr } of said) assert.is(code, 0, stderr);
    // Both print the same report, with the same bytes.
    const report = path.join(project.dir, '.dosimeter/reports/grid.html');
    assert.equal(
      said.map(({ stdout }) => stdout),
      [`${report}\n`, `${report}\n`],
    );
    assert.ok(
      Object.values(expected).includes(
        createHash('sha256').update(readFileSync(report)).digest('hex'),
      ),
    );
    const ran = project.lines('ran.log');
    assert.equal(
      [ran.length, new Set(ran).size],
      [STAGES, STAGES],
      `round ${n}: ${ran.sort().join(', ')}`,
    );
    await settle(project, expected);
  }
});

test(`one of two runs takes over when the other is killed (${KILLED} times)`, async ({
  project,
  expected,
  took,
}) => {
  for (let n = 0; n < KILLED; n++) {
    fresh(project);
    const one = project.start('run', 'spec.yaml', '--jobs', '1'),
      other = project.start('run', 'spec.yaml', '--jobs', '1');
    await sleep((0.2 + 0.7 * random.uniform()) * took);
    const before = published(project),
      ran = project.lines('ran.log').length;
    const [victim, survivor] = random.integer(2) === 0 ? [one, other] : [other, one];
    victim.process.kill('SIGKILL');
    const { code, stderr } = await survivor.ended;
    assert.is(code, 0, stderr);
    await victim.ended;
    assert.equal(ranAgain(project, before, ran), [], `round ${n}`);
    await settle(project, expected);
  }
});

const CODES = times(2, 20);

// What both runs need is made once. Everything else is made by the code that the run began with.
test(`a run is not affected when a plugin is edited during it (${CODES} times)`, async ({
  project,
  expected,
}) => {
  const old = project.read('grid-train.mjs'),
    edited = old.replace('Array(2000)', 'Array(2001)');
  assert.is.not(edited, old);
  try {
    fresh(project);
    project.write('grid-train.mjs', edited);
    const alone = await project.dosimeter('run', 'spec.yaml', '--jobs', '2');
    assert.is(alone.code, 0, alone.stderr);
    const both = { ...expected, ...contentsOf(project) };
    for (let n = 0; n < CODES; n++) {
      fresh(project);
      project.write('grid-train.mjs', old);
      const first = project.start('run', 'spec.yaml', '--jobs', '2');
      const watched = watch(first);
      // Wait until it has loaded its plugins and has run some stages.
      for (
        const ran = 1 + random.integer(10);
        !watched.hasEnded && project.lines('ran.log').length < ran;
      )
        await sleep(10);
      project.write('grid-train.mjs', edited);
      const second = await project.dosimeter('run', 'spec.yaml', '--jobs', '2');
      for (const { code, stderr } of [await first.ended, second]) assert.is(code, 0, stderr);
      assert.equal(contentsOf(project), both, `round ${n}`);
      const ran = project.lines('ran.log'),
        count = (name: string): number => ran.filter((one) => one === name).length;
      assert.equal(
        [...new Set(ran)].filter((name) => count(name) !== (name === 'rows' ? 1 : 2)),
        [],
        `round ${n}: ${ran.join(', ')}`,
      );
      assert.is(ran.length, 2 * STAGES - 1);
    }
  } finally {
    project.write('grid-train.mjs', old);
  }
});

test.run();

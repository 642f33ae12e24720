import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Failed, Finished } from '../../src/execute/types.ts';
import { checkDescriptor } from '../../src/registry/descriptor.ts';
import type { Rig } from '../rig/rig.ts';
import { cell, createRig, experiment } from '../rig/rig.ts';

const test = suite<{ rig: Rig }>('inline stages');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

/** One stage a seed, in this process; seed 2 does what `body` says. */
const stage = (rig: Rig, body: string): Promise<void> =>
  rig.plugin(
    'stage',
    'train',
    `{
  compute: false, scope: 'cell', inline: true,
  define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }),
  run: async ({ params, outDir, log, plugin, signal }) => {
    const { writeFileSync } = await import('node:fs');
    if (params.seed === 2) { ${body} }
    log('seed ' + params.seed);
    writeFileSync(outDir + '/pid.txt', String(process.pid));
  },
}`,
  );

const listeners =
  process.listenerCount('uncaughtException') + process.listenerCount('unhandledRejection');
const grid = experiment(['train'], [cell(1), cell(2), cell(3)]);

test("runs in the scheduler's process, and its output is an entry as any other", async ({
  rig,
}) => {
  await stage(rig, '');
  const { ran, outcomes } = await rig.run(grid);
  assert.equal(ran, { train: 3 });
  assert.is(
    readFileSync(path.join((outcomes['train/2'] as Finished).dir, 'pid.txt'), 'utf8'),
    String(process.pid),
  );
  assert.equal((await rig.run(grid)).ran, {});
});

for (const [what, body, error] of [
  ['throws', 'throw new TypeError("no such field");', 'internal error: no such field'],
  [
    "is at a user's fault",
    'throw Object.assign(new Error("the rate is too high"), { name: "UserFault" });',
    'the rate is too high',
  ],
  [
    'forgets a promise',
    'void Promise.reject(new Error("forgotten")); await new Promise(() => undefined);',
    'internal error: forgotten',
  ],
  [
    'throws in a callback',
    'setTimeout(() => { throw new Error("too late"); }); await new Promise(() => undefined);',
    'internal error: too late',
  ],
  [
    'returns something',
    'return 1;',
    'internal error: the stage "train" returned number; its output is what it writes to outDir, and `run` returns nothing',
  ],
  ['writes nothing', 'return;', 'internal error: the stage "train" wrote no file'],
  [
    'asks for a plugin that it does not declare',
    'plugin("attack", "none");',
    'internal error: the stage "train" asks for the attack "none", which its definition doesn\'t name in `uses`',
  ],
] as const) {
  test(`one that ${what} fails alone`, async ({ rig }) => {
    await stage(rig, body);
    const { ran, outcomes } = await rig.run(grid);
    assert.equal(ran, { train: 2 });
    assert.is((outcomes['train/2'] as Failed).error, error);
    assert.is(
      process.listenerCount('uncaughtException') + process.listenerCount('unhandledRejection'),
      listeners,
    );
  });
}

test('one that waits without end is given up when its time is over', async ({ rig }) => {
  await stage(rig, 'await new Promise(() => undefined);');
  const { ran, outcomes } = await rig.run(grid, { patience: { timeout: 0.2 } });
  assert.equal(ran, { train: 2 });
  assert.is((outcomes['train/2'] as Failed).error, 'it ran for more than 0.2 s and was ended');
});

test('a stage that computes runs in a worker', () => {
  assert.throws(
    () =>
      checkDescriptor(
        {
          kind: 'stage',
          name: 'train',
          summary: 'S.',
          compute: true,
          inline: true,
          scope: 'cell',
          define: () => ({}),
          run: () => undefined,
        },
        'train.ts',
      ),
    /inline: a stage that computes runs in a worker/,
  );
});

test.run();

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkDescriptor } from '../../../src/run/registry/descriptor.ts';
import type { Rig } from '../../rig/rig.ts';
import { createRig } from '../../rig/rig.ts';
import { trainings } from './chain.ts';
import type { Body } from './stages.ts';
import { addStage, failed, outputOf } from './stages.ts';

const test = suite<{ rig: Rig }>('inline stages');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

const listeners = (): number =>
  process.listenerCount('uncaughtException') + process.listenerCount('unhandledRejection');
const listenersBefore = listeners();

test("runs in the scheduler's process, and its output is an entry like any other", async ({
  rig,
}) => {
  await addStage(rig, 'train', {
    inline: true,
    run: ({ put }) => put('pid.txt', String(process.pid)),
  });
  const { ran, outcomes } = await rig.run(trainings(1, 2));
  assert.equal(ran, { train: 2 });
  assert.is(outputOf(outcomes['train/2'], 'pid.txt'), String(process.pid));
  assert.equal((await rig.run(trainings(1, 2))).ran, {});
});

const misbehaviours: readonly (readonly [what: string, run: Body, error: string])[] = [
  [
    'throws',
    () => {
      throw new TypeError('no such field');
    },
    'internal error: no such field',
  ],
  [
    "finds the user's data at fault",
    ({ fault }) => fault('the rate is too high'),
    'the rate is too high',
  ],
  [
    'forgets a promise',
    ({ hang }) => {
      void Promise.reject(new Error('forgotten'));
      return hang();
    },
    'internal error: forgotten',
  ],
  [
    'throws in a callback',
    ({ hang }) => {
      setTimeout(() => {
        throw new Error('too late');
      });
      return hang();
    },
    'internal error: too late',
  ],
  [
    'returns something',
    () => 1 as never, // as a plugin in plain JavaScript may
    'internal error: the stage "train" returned number; ' +
      'its output is what it writes to outDir, and `run` returns nothing',
  ],
  ['writes nothing', () => undefined, 'internal error: the stage "train" wrote no file'],
  [
    'asks for a plugin that it does not declare',
    ({ ctx }) => {
      ctx.plugin('attack', 'none');
    },
    'internal error: the stage "train" asks for the attack "none", ' +
      "which its definition doesn't name in `uses`",
  ],
];

for (const [what, run, error] of misbehaviours)
  test(`one that ${what} fails alone`, async ({ rig }) => {
    await addStage(rig, 'train', { inline: true, run });
    const { outcomes } = await rig.run(trainings(2));
    assert.is(failed(outcomes['train/2']).error, error);
    assert.is(listeners(), listenersBefore);
    await addStage(rig, 'train', { inline: true, run: ({ put }) => put('out.txt', '') });
    assert.equal((await rig.run(trainings(1, 2))).ran, { train: 2 }, 'this process goes on');
  });

test('one that waits without end is given up when its time is over', async ({ rig }) => {
  await addStage(rig, 'train', {
    inline: true,
    run: ({ hang, put, seed }) => (seed === 2 ? hang() : put('out.txt', '')),
  });
  const { ran, outcomes } = await rig.run(trainings(1, 2, 3), { attemptLimits: { timeout: 0.2 } });
  assert.equal(ran, { train: 2 });
  assert.is(failed(outcomes['train/2']).error, 'it ran for more than 0.2 s and was ended');
});

test('a stage that computes can not be inline', () => {
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

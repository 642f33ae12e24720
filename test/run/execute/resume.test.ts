import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { collectGarbage } from '../../../src/store/gc.ts';
import { openStore } from '../../../src/store/store.ts';
import { createRig, type Rig } from '../../rig/rig.ts';
import { trainings } from './chain.ts';
import { addStage, failed, finished, outputOf } from './stages.ts';

const test = suite<{ rig: Rig }>('resume');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

/** A stage that counts to four in its resume folder; at two, it is killed or fails. */
const addCounter = (rig: Rig, how: 'killed' | 'at fault' | 'cut off'): Promise<void> =>
  addStage(rig, 'train', {
    given: { how },
    run({ ctx, fault, fs, given, hang, put }) {
      const { resumeDir = '' } = ctx;
      fs.mkdirSync(resumeDir, { recursive: true });
      const file = `${resumeDir}/count`;
      const counted = fs.existsSync(file) ? Number(fs.readFileSync(file, 'utf8')) : 0;
      for (let n = counted + 1; n <= 4; n++) {
        fs.writeFileSync(file, String(n));
        if (n !== 2) continue;
        if (given['how'] === 'at fault') fault('no');
        if (given['how'] === 'cut off')
          throw Object.assign(new Error('no memory'), { name: 'UserFault', cutOff: true });
        process.kill(process.pid, 'SIGKILL');
        return hang();
      }
      put('from', String(counted));
      return undefined;
    },
  });

const resumeDirs = (rig: Rig): string[] => {
  const dir = path.join(rig.storeDir, 'resume');
  return existsSync(dir) ? readdirSync(dir) : [];
};

test('a stage resumes what it left when it was killed, which goes once the stage is done', async ({
  rig,
}) => {
  await addCounter(rig, 'killed');
  const { outcomes } = await rig.run(trainings(1));
  assert.match(failed(outcomes['train/1']).error, /ended by SIGKILL/);
  assert.is(resumeDirs(rig).length, 1);
  const second = (await rig.run(trainings(1))).outcomes['train/1'];
  assert.is(outputOf(second, 'from'), '2');
  assert.equal(resumeDirs(rig), []);
  const { key } = finished(second);
  assert.ok(existsSync(path.join(rig.storeDir, key.slice(0, 2), key)));
});

test("a stage that fails by a user's fault starts afresh: it would fail in the same place", async ({
  rig,
}) => {
  await addCounter(rig, 'at fault');
  assert.is(failed((await rig.run(trainings(1))).outcomes['train/1']).error, 'no');
  assert.equal(resumeDirs(rig), []);
});

test('a stage whose fault says that it was cut off resumes what it left', async ({ rig }) => {
  await addCounter(rig, 'cut off');
  assert.is(failed((await rig.run(trainings(1))).outcomes['train/1']).error, 'no memory');
  assert.is(outputOf((await rig.run(trainings(1))).outcomes['train/1'], 'from'), '2');
});

test('gc sweeps what was left for a fortnight, and keeps what may still be resumed', async ({
  rig,
}) => {
  const store = openStore(rig.storeDir);
  for (const [name, days] of [
    ['a', 15],
    ['b', 13],
  ] as const) {
    const dir = path.join(rig.storeDir, 'resume', name.repeat(64));
    mkdirSync(dir, { recursive: true });
    writeFileSync(path.join(dir, 'state'), 'x');
    const then = new Date(Date.now() - days * 24 * 3600 * 1000);
    utimesSync(dir, then, then);
  }
  await collectGarbage(store, null, false);
  assert.equal(resumeDirs(rig), ['b'.repeat(64)]);
  store.close();
});

test.run();

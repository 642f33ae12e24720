import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Failed, Finished } from '../../src/execute/types.ts';
import { collectGarbage } from '../../src/store/gc.ts';
import { openStore } from '../../src/store/store.ts';
import type { Rig } from '../rig/rig.ts';
import { cell, createRig, experiment } from '../rig/rig.ts';

const test = suite<{ rig: Rig }>('resume');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

/** A stage that counts to four in its resume folder, one a run, and at two does `then`. */
const counting = (rig: Rig, then: string): Promise<void> =>
  rig.plugin(
    'stage',
    'train',
    `{
  compute: false, scope: 'cell', define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }),
  run: async (ctx) => {
    const { existsSync, mkdirSync, readFileSync, writeFileSync } = await import('node:fs');
    mkdirSync(ctx.resumeDir, { recursive: true });
    const file = ctx.resumeDir + '/count';
    const counted = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
    for (let n = counted + 1; n <= 4; n++) {
      writeFileSync(file, String(n));
      if (n === 2) { ${then} }
    }
    writeFileSync(ctx.outDir + '/from', String(counted));
  },
}`,
  );
const one = experiment(['train'], [cell(1)]);
const resumes = (rig: Rig): string[] =>
  existsSync(path.join(rig.storeDir, 'resume'))
    ? readdirSync(path.join(rig.storeDir, 'resume'))
    : [];

test('what a killed stage left is found again, and goes once the stage is done', async ({
  rig,
}) => {
  await counting(rig, 'process.kill(process.pid, "SIGKILL"); await new Promise(() => undefined);');
  const killed = (await rig.run(one)).outcomes['train/1'] as Failed;
  assert.match(killed.error, /ended by SIGKILL/);
  assert.is(resumes(rig).length, 1);
  const { dir, key } = (await rig.run(one)).outcomes['train/1'] as Finished;
  assert.is(readFileSync(path.join(dir, 'from'), 'utf8'), '2');
  assert.equal(resumes(rig), []);
  assert.ok(existsSync(path.join(rig.storeDir, key.slice(0, 2), key)));
});

test("a stage that fails by a user's fault starts anew: it would come to the same", async ({
  rig,
}) => {
  await counting(rig, 'throw Object.assign(new Error("no"), { name: "UserFault" });');
  assert.is(((await rig.run(one)).outcomes['train/1'] as Failed).error, 'no');
  assert.equal(resumes(rig), []);
});

test('gc sweeps what was left for a fortnight, and leaves what may be gone on with', ({ rig }) => {
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
  collectGarbage(store, null, false);
  assert.equal(resumes(rig), ['b'.repeat(64)]);
  store.close();
});

test.run();

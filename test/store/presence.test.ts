import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { collectGarbage } from '../../src/store/gc.ts';
import { newOwner, ownerName } from '../../src/store/owner.ts';
import { beginSweeping, enterStore } from '../../src/store/presence.ts';
import { openStore } from '../../src/store/store.ts';

const test = suite<{ root: string }>('runs and gc');
test.before.each((context) => {
  context.root = mkdtempSync(path.join(tmpdir(), 'dosimeter-presence-'));
});
test.after.each(({ root }) => rmSync(root, { recursive: true }));

const never = (): void => assert.unreachable('nothing to wait for');
const leases = (root: string): string[] => readdirSync(path.join(root, 'leases'));

test('gc is refused while a run uses the store, and sweeps after it', async ({ root }) => {
  const runs = [openStore(root), openStore(root)],
    other = openStore(root);
  for (const run of runs) await enterStore(run, never);
  for (const run of runs) {
    assert.throws(
      () => collectGarbage(other, 0, false),
      new RegExp(`a run is using .*\\(process ${process.pid}\\)`),
    );
    assert.equal(collectGarbage(other, 0, true).entries, []); // a dry run only looks
    run.close();
  }
  assert.equal(collectGarbage(other, 0, false).entries, []);
  assert.equal(leases(root), []);
});

test('two gc never sweep at once', ({ root }) => {
  const sweeping = beginSweeping(root);
  assert.throws(() => collectGarbage(openStore(root), 0, false), /another gc is using/);
  sweeping.end();
  collectGarbage(openStore(root), 0, false);
});

test('a run waits for gc to end, and says so once', async ({ root }) => {
  const sweeping = beginSweeping(root),
    store = openStore(root),
    told: string[] = [];
  let entered = false;
  const entering = enterStore(store, (message) => {
    told.push(message);
    setTimeout(() => {
      assert.not.ok(entered);
      sweeping.end();
    }, 600);
  }).then(() => {
    entered = true;
  });
  await entering;
  assert.equal(told, [`gc is sweeping ${root} (process ${process.pid}); waiting`]);
  store.close();
});

test('signs of dead processes and silent hosts are ignored', async ({ root }) => {
  const dir = path.join(root, 'leases'),
    far = { ...newOwner(), host: '0123456789ab' };
  mkdirSync(dir, { recursive: true });
  const put = (name: string, old: boolean): void => {
    writeFileSync(path.join(dir, name), '');
    if (old) utimesSync(path.join(dir, name), Date.now() / 1000 - 60, Date.now() / 1000 - 60);
  };
  const dead = ownerName({ ...newOwner(), pid: 4_190_000 });
  for (const name of [`sweeping.${dead}`, `running-x.${dead}`]) put(name, false);
  for (const name of [`sweeping.${ownerName(far)}`, `running-x.${ownerName(far)}`]) put(name, true);
  const store = openStore(root);
  await enterStore(store, never);
  store.close();
  assert.equal(leases(root), []);
  put(`running-x.${ownerName(far)}`, false);
  assert.throws(() => collectGarbage(store, 0, false), /a run is using/);
  put(`running-x.${ownerName(far)}`, true);
  collectGarbage(store, 0, false);
  assert.equal(leases(root), []);
});

test('gc of a missing store does not create it', ({ root }) => {
  const nowhere = path.join(root, 'nowhere');
  assert.is(collectGarbage(openStore(nowhere), 0, false).entries.length, 0);
  assert.not.ok(existsSync(nowhere));
});

test.run();

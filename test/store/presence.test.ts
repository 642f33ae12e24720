import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { beginSweeping, collectGarbage, enterStore } from '../../src/store/gc.ts';
import { createHeart, newOwner, ownerName } from '../../src/store/owner.ts';
import { openStore } from '../../src/store/store.ts';
import { rejects } from '../rig/rejects.ts';

const test = suite<{ root: string }>('runs and gc');
const before = process.env['DOSIMETER_LEASE_SECONDS'];
test.before(() => {
  process.env['DOSIMETER_LEASE_SECONDS'] = '0.6';
});
test.after(() => {
  if (before === undefined) Reflect.deleteProperty(process.env, 'DOSIMETER_LEASE_SECONDS');
  else process.env['DOSIMETER_LEASE_SECONDS'] = before;
});
test.before.each((context) => {
  context.root = mkdtempSync(path.join(tmpdir(), 'dosimeter-presence-'));
});

const never = (): void => assert.unreachable('nothing to wait for');
const leases = (root: string): string[] => readdirSync(path.join(root, 'leases'));

test('gc is refused while a run uses the store, and sweeps after it', async ({ root }) => {
  const runs = [openStore(root), openStore(root)],
    other = openStore(root);
  for (const run of runs) await enterStore(run, never);
  for (const run of runs) {
    await rejects(
      collectGarbage(other, 0, false),
      new RegExp(`a run is using .*\\(process ${process.pid}\\)`),
    );
    // a dry run only looks
    assert.equal((await collectGarbage(other, 0, true)).entries, []);
    run.close();
  }
  assert.equal((await collectGarbage(other, 0, false)).entries, []);
  assert.equal(leases(root), []);
});

test('two gc never sweep at once', async ({ root }) => {
  const sweeping = await beginSweeping(root);
  await rejects(collectGarbage(openStore(root), 0, false), /another gc is using/);
  sweeping.end();
  await collectGarbage(openStore(root), 0, false);
});

test('a run waits for gc to end, and says so once', async ({ root }) => {
  const sweeping = await beginSweeping(root),
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
  const put = (name: string): void => writeFileSync(path.join(dir, name), '');
  const owners = [ownerName({ ...newOwner(), pid: 4_190_000 }), ownerName(far)];
  for (const owner of owners) for (const sign of ['sweeping', 'running-x']) put(`${sign}.${owner}`);
  const store = openStore(root);
  await enterStore(store, (message) => assert.match(message, /gc is sweeping .*; waiting/));
  store.close();
  assert.equal(leases(root), []);
  const heart = createHeart(dir, far, 60_000);
  const beating = setInterval(() => heart.beat(), 20);
  put(`running-x.${ownerName(far)}`);
  heart.beat();
  await rejects(collectGarbage(store, 0, false), /a run is using/);
  clearInterval(beating);
  rmSync(heart.file);
  await collectGarbage(store, 0, false);
  assert.equal(leases(root), []);
});

test('gc of a missing store does not create it', async ({ root }) => {
  const nowhere = path.join(root, 'nowhere');
  assert.is((await collectGarbage(openStore(nowhere), 0, false)).entries.length, 0);
  assert.not.ok(existsSync(nowhere));
});

test.run();

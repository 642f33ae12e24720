/** What another host has just published is seen, although caches show it late. */
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lookUntilVisible, type LookUp, PAUSES } from '../../src/store/look-up.ts';
import { newOwner, ownerName } from '../../src/store/owner.ts';
import { createStores, putEntry, type Stores } from './remote/double.ts';

const test = suite<{ stores: Stores }>('visibility');
test.before.each((context) => {
  context.stores = createStores();
});
test.after.each(({ stores }) => stores.clean());

const absent: LookUp = { state: 'absent' },
  damaged: LookUp = { state: 'damaged', why: 'model.bin is missing' },
  hit = { state: 'hit' } as LookUp;

/** Looks at a cache that shows one of `shown` after the other, each after a refresh. */
async function lookAt(
  shown: readonly LookUp[],
  pauses: readonly number[] = PAUSES,
  listed: readonly boolean[] = [],
) {
  let refreshed = 0;
  const waited: number[] = [];
  const found = await lookUntilVisible(
    () => shown[Math.min(refreshed, shown.length - 1)] ?? absent,
    () => {
      refreshed++;
      return listed[refreshed - 1] ?? false;
    },
    pauses,
    (ms) => Promise.resolve(waited.push(ms)),
  );
  return { found, refreshed, waited };
}

test('an entry is looked for until it is visible and whole, and no longer', async () => {
  assert.equal(await lookAt([hit]), { found: hit, refreshed: 0, waited: [] });
  assert.equal(await lookAt([absent, hit]), { found: hit, refreshed: 1, waited: [] });
  assert.equal(await lookAt([absent, damaged, damaged, hit]), {
    found: hit,
    refreshed: 3,
    waited: PAUSES.slice(0, 2),
  });
});

test('the looks are bounded, and the last one counts', async () => {
  assert.equal(await lookAt([absent]), {
    found: absent,
    refreshed: PAUSES.length + 1,
    waited: PAUSES,
  });
  assert.equal(await lookAt([damaged], []), { found: damaged, refreshed: 1, waited: [] });
});

test('an entry that a listing shows is waited for, as long as it is shown', async () => {
  assert.equal(await lookAt([absent, absent, absent, hit], [], [true, true]), {
    found: hit,
    refreshed: 3,
    waited: PAUSES.slice(0, 2),
  });
  assert.equal(await lookAt([absent], [], [true, false]), {
    found: absent,
    refreshed: 2,
    waited: PAUSES.slice(0, 1),
  });
});

test('a shared store waits for what another host publishes; another does not', async ({
  stores,
}) => {
  const store = stores.open('store'),
    other = stores.open('store');
  const { key, dir } = await putEntry(other, { 'model.bin': 'm' });
  const hidden = `${dir}-hidden`;
  const isThere = async (expected: boolean): Promise<boolean> =>
    (await store.lookUpShared(key, expected)).state === 'hit';
  assert.ok(await isThere(false));
  renameSync(dir, hidden);
  store.take('a'.repeat(64) as typeof key);
  assert.not.ok(await isThere(true)); // nobody else uses the store
  // A process of another host is at work.
  const far = `running-x.${ownerName({ ...newOwner(), host: '0123456789ab' })}`;
  writeFileSync(path.join(store.root, 'leases', far), '');
  store.take('b'.repeat(64) as typeof key);
  const waiting = isThere(true);
  renameSync(hidden, dir);
  assert.ok(await waiting);
  // Its folder shows before its manifest does.
  const manifest = path.join(dir, 'manifest.json');
  renameSync(manifest, hidden);
  const again = isThere(false);
  renameSync(hidden, manifest);
  assert.ok(await again);
});

test('of two hosts that publish one entry, the first wins, even if it shows late', async ({
  stores,
}) => {
  const store = stores.open('store'),
    other = stores.open('store');
  store.take('a'.repeat(64) as Parameters<typeof store.take>[0]);
  const far = `running-x.${ownerName({ ...newOwner(), host: '0123456789ab' })}`;
  writeFileSync(path.join(store.root, 'leases', far), '');
  store.take('b'.repeat(64) as Parameters<typeof store.take>[0]);
  const first = await putEntry(other, { 'model.bin': 'first' });
  const manifest = path.join(first.dir, 'manifest.json');
  renameSync(manifest, `${first.dir}-hidden`);
  const second = putEntry(store, { 'model.bin': 'second' });
  const shows = setInterval(() => {
    clearInterval(shows);
    renameSync(`${first.dir}-hidden`, manifest);
  }, 10);
  assert.equal((await second).manifest, first.manifest);
  assert.is(await store.check(first), null);
});

test.run();

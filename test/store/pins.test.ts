import { mkdtempSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ActionKey, KeyComponents } from '../../src/plan/types.ts';
import { collectGarbage } from '../../src/store/gc.ts';
import { pin, readPins, readRoots, saveRoot, unpin } from '../../src/store/roots.ts';
import { openStore, type Store } from '../../src/store/store.ts';
import { digestFiles } from '../rig/digest-files.ts';
import { present } from '../rig/present.ts';
import { rejects } from '../rig/rejects.ts';

const test = suite<{ root: string; store: Store }>('store/pins');
test.before.each((context) => {
  context.root = path.join(mkdtempSync(path.join(os.tmpdir(), 'dosimeter-')), 'store');
  context.store = openStore(context.root);
});
test.after.each(async ({ store }) => {
  await store.flush();
  store.close();
});

const [a, b, c] = ['a', 'b', 'c'].map((digit) => digit.repeat(64) as ActionKey) as [
  ActionKey,
  ActionKey,
  ActionKey,
];
const components: KeyComponents = {
  kind: 'train',
  code: {},
  params: {},
  inputs: {},
  assets: {},
  backend: null,
};

/** Three entries of 100 bytes. */
async function fill(store: Store): Promise<void> {
  for (const key of [a, b, c]) {
    const scratch = store.scratch(key.slice(0, 4));
    writeFileSync(path.join(scratch, 'model'), 'x'.repeat(100));
    await store.publish(scratch, {
      key,
      kind: 'train',
      components,
      files: await digestFiles(scratch),
      seconds: 1,
      backend: null,
      facts: {},
      volatile: [],
    });
  }
}

/** Records that the spec was last used at this time, in seconds since 1970. */
function usedAt(root: string, spec: string, keys: readonly ActionKey[], seconds: number): void {
  saveRoot(root, spec, keys);
  const { file } = present(readRoots(root).find((one) => one.spec === spec));
  utimesSync(file, seconds, seconds);
}

const sweep = async (store: Store, bytes: number): Promise<readonly ActionKey[]> => {
  const { entries } = await collectGarbage(store, bytes, false);
  return entries;
};

test('the least recently used entries are swept first, pinned ones never', async ({
  store,
  root,
}) => {
  await fill(store);
  usedAt(root, '/old.yaml', [a, b], 1e9);
  usedAt(root, '/new.yaml', [b, c], 2e9);
  pin(root, { name: 'paper', of: '/old.yaml', keys: [a] });
  const swept = await collectGarbage(store, 150, false);
  assert.is(swept.entries.length, 2);
  assert.equal(swept.kept, { entries: 1, bytes: 100 });
  assert.equal(swept.pinned, { entries: 1, bytes: 100 });
  assert.equal(store.keys(), [a]);
  assert.equal(await sweep(store, 0), []);
  assert.ok(unpin(root, 'paper'));
  assert.not.ok(unpin(root, 'paper'));
  assert.equal(await sweep(store, 0), [a]);
});

test('an entry that two specs share counts as used by the newer run', async ({ store, root }) => {
  await fill(store);
  usedAt(root, '/old.yaml', [a, b], 1e9);
  usedAt(root, '/new.yaml', [b, c], 2e9);
  assert.equal(await sweep(store, 250), [a]);
  // What the old one tells, the new one does as well.
  assert.equal(
    readRoots(root).map(({ spec }) => spec),
    ['/new.yaml'],
  );
});

test('a pin holds what was there, belongs to one spec, and can be renewed', ({ root }) => {
  pin(root, { name: 'paper', of: '/a.yaml', keys: [a] });
  pin(root, { name: 'paper', of: '/a.yaml', keys: [a, b] });
  pin(root, { name: 'other', of: '/b.yaml', keys: [c] });
  assert.equal(
    readPins(root).map(({ name, keys }) => [name, keys]),
    [
      ['other', [c]],
      ['paper', [a, b]],
    ],
  );
  assert.throws(
    () => pin(root, { name: 'paper', of: '/b.yaml', keys: [c] }),
    /the pin "paper" belongs to \/a\.yaml/,
  );
});

test('nothing is swept while a pin is damaged', async ({ store, root }) => {
  await fill(store);
  pin(root, { name: 'paper', of: '/a.yaml', keys: [a] });
  const file = path.join(root, 'pins', present(readdirSync(path.join(root, 'pins'))[0]));
  writeFileSync(file, readFileSync(file, 'utf8').replace('aaaa', 'aaab'));
  await rejects(
    collectGarbage(store, 0, false),
    /the pin "paper" was damaged: what it held is not known/,
  );
  assert.is(store.keys().length, 3);
  pin(root, { name: 'paper', of: '/a.yaml', keys: [a] });
  assert.is((await sweep(store, 0)).length, 2);
});

test.run();

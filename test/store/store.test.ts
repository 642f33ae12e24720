import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ActionKey, KeyComponents } from '../../src/plan/types.ts';
import type { Entry } from '../../src/store/manifest.ts';
import { newOwner, ownerName } from '../../src/store/owner.ts';
import { openStore, type Store, sweepLetGo } from '../../src/store/store.ts';
import { digestFiles } from '../rig/digest-files.ts';
import { present } from '../rig/present.ts';

const test = suite<{ root: string; store: Store }>('store');
test.before.each((context) => {
  context.root = path.join(mkdtempSync(path.join(os.tmpdir(), 'dosimeter-')), 'store');
  context.store = openStore(context.root);
});
test.after.each(async ({ store }) => {
  await store.flush();
  store.close();
});

const key = (digit: string): ActionKey => digit.repeat(64) as ActionKey;
const components: KeyComponents = {
  kind: 'train',
  code: {},
  params: { rank: 8 },
  inputs: {},
  assets: {},
  backend: 'cpu',
};

async function put(
  store: Store,
  of: ActionKey,
  files: { readonly [name: string]: string },
  volatile: readonly string[] = [],
): Promise<Entry> {
  const scratch = store.scratch(of.slice(0, 4));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(scratch, name)), { recursive: true });
    writeFileSync(path.join(scratch, name), text);
  }
  const entry = await store.publish(scratch, {
    key: of,
    kind: 'train',
    components,
    files: await digestFiles(scratch),
    seconds: 1,
    backend: 'cpu',
    facts: {},
    volatile,
  });
  return entry;
}

test('an entry is found as it was written', async ({ store, root }) => {
  assert.equal(store.lookUp(key('a')), { state: 'absent' });
  const entry = await put(store, key('a'), { 'model.txt': 'abc', 'adapter/config.json': '{}' });
  assert.is(entry.dir, path.join(root, 'aa', key('a')));
  const found = store.lookUp(key('a'));
  assert.equal(found, { state: 'hit', entry });
  assert.equal(
    entry.manifest.files.map(({ path: name, size }) => [name, size]),
    [
      ['adapter/config.json', 2],
      ['model.txt', 3],
    ],
  );
  assert.is(await store.check(entry), null);
  assert.equal(store.keys(), [key('a')]);
  assert.equal(readdirSync(path.join(root, 'tmp')), []);
});

test('looking up creates nothing', ({ store, root }) => {
  store.lookUp(key('a'));
  store.keys();
  assert.not.ok(existsSync(root));
});

test('volatile files are kept and left out of the content', async ({ store }) => {
  const a = await put(store, key('a'), { model: 'm', 'metrics.json': '1' }, ['metrics.json']);
  const b = await put(store, key('b'), { model: 'm', 'metrics.json': '2' }, ['metrics.json']);
  const c = await put(store, key('c'), { model: 'n', 'metrics.json': '1' }, ['metrics.json']);
  assert.is(a.manifest.content, b.manifest.content);
  assert.is.not(a.manifest.content, c.manifest.content);
  assert.is(readFileSync(path.join(b.dir, 'metrics.json'), 'utf8'), '2');
});

const flip = (file: string, at: number): void => {
  const bytes = readFileSync(file);
  bytes[at] = present(bytes[at]) ^ 1;
  writeFileSync(file, bytes);
};
/** Makes a change look older than the manifest, as when a disk fails. */
const old = (file: string): void => utimesSync(file, new Date(1e9), new Date(1e9));

for (const [what, damage, why] of [
  ['no manifest', (dir: string) => rmSync(path.join(dir, 'manifest.json')), 'it has no manifest'],
  [
    'a manifest cut short',
    (dir: string) => truncateSync(path.join(dir, 'manifest.json'), 300),
    'its manifest is cut short',
  ],
  [
    'an empty manifest',
    (dir: string) => truncateSync(path.join(dir, 'manifest.json'), 0),
    'its manifest is cut short',
  ],
  [
    'a flipped bit in its manifest',
    (dir: string) => flip(path.join(dir, 'manifest.json'), 200),
    'its manifest was changed',
  ],
  [
    'the manifest of another entry',
    (dir: string) =>
      cpSync(
        path.join(dir, '../../bb', key('b'), 'manifest.json'),
        path.join(dir, 'manifest.json'),
      ),
    'its manifest is of another entry',
  ],
  [
    'a manifest that is a link to itself',
    (dir: string) => {
      rmSync(path.join(dir, 'manifest.json'));
      symlinkSync('manifest.json', path.join(dir, 'manifest.json'));
    },
    "its manifest can't be read (ELOOP)",
  ],
  ['a missing file', (dir: string) => rmSync(path.join(dir, 'model.txt')), 'model.txt is missing'],
  [
    'a file cut short',
    (dir: string) => truncateSync(path.join(dir, 'model.txt'), 1),
    'model.txt has 1 bytes, not 3',
  ],
  [
    'a file grown',
    (dir: string) => appendFileSync(path.join(dir, 'model.txt'), 'd'),
    'model.txt has 4 bytes, not 3',
  ],
  [
    "a folder in a file's place",
    (dir: string) => {
      rmSync(path.join(dir, 'model.txt'));
      mkdirSync(path.join(dir, 'model.txt'));
    },
    'model.txt is missing',
  ],
  // A kernel's clock ticks only every few milliseconds; a change by hand comes later than that.
  [
    'a file written over by hand',
    (dir: string) => {
      flip(path.join(dir, 'model.txt'), 1);
      utimesSync(path.join(dir, 'model.txt'), new Date(), new Date(Date.now() + 1000));
    },
    'a file was changed after it was stored',
  ],
] as const) {
  test(`an entry with ${what} is a miss that says why, and is made anew`, async ({
    store,
    root,
  }) => {
    await put(store, key('b'), { 'other.txt': 'x' });
    const { dir } = await put(store, key('a'), { 'model.txt': 'abc' });
    damage(dir);
    assert.equal(store.lookUp(key('a')), { state: 'damaged', why });
    const entry = await put(store, key('a'), { 'model.txt': 'abc' });
    assert.equal(store.lookUp(key('a')), { state: 'hit', entry });
    assert.is(readdirSync(path.join(root, 'damaged')).length, 1);
  });
}

test('a bit that a disk flipped shows in the digests', async ({ store }) => {
  const entry = await put(store, key('a'), { 'model.txt': 'abc' });
  flip(path.join(entry.dir, 'model.txt'), 1);
  old(path.join(entry.dir, 'model.txt'));
  assert.is(store.lookUp(key('a')).state, 'hit');
  assert.is(await store.check(entry), 'model.txt was changed');
});

test('a store that was copied or touched is right', async ({ store, root }) => {
  const { dir } = await put(store, key('a'), { 'model.txt': 'abc' });
  const later = new Date(Date.now() + 5000);
  utimesSync(path.join(dir, 'model.txt'), later, later);
  assert.is(store.lookUp(key('a')).state, 'hit');
  cpSync(root, `${root}-copy`, { recursive: true });
  assert.is(openStore(`${root}-copy`).lookUp(key('a')).state, 'hit');
});

test("of two processes that make an entry, the slower one takes the other's", async ({
  store,
  root,
}) => {
  const scratch = store.scratch('slow');
  writeFileSync(path.join(scratch, 'model.txt'), 'slow');
  const publication = {
    key: key('a'),
    kind: 'train',
    components,
    files: await digestFiles(scratch),
    seconds: 1,
    backend: 'cpu',
    facts: {},
    volatile: [],
  } as const;
  const entry = await put(store, key('a'), { 'model.txt': 'fast' });
  assert.equal(await store.publish(scratch, publication), entry);
  assert.equal(readdirSync(path.join(root, 'tmp')), []);
});

test("a store that can't be written is reported in a plain sentence", ({ root }) => {
  writeFileSync(root, 'a file');
  const store = openStore(root);
  assert.throws(
    () => store.scratch('x'),
    (error: Error & { hint?: string }) =>
      error.name === 'UserFault' &&
      error.message.startsWith(root) &&
      /--store/.test(error.hint ?? ''),
  );
  rmSync(root);
});

test('scratch folders of dead processes are swept, those of living ones are not', ({
  store,
  root,
}) => {
  const dead = { ...newOwner(), pid: 4_190_000 },
    reborn = { ...newOwner(), start: '1' };
  mkdirSync(path.join(root, 'tmp'), { recursive: true });
  for (const owner of [dead, reborn, newOwner()])
    mkdirSync(path.join(root, 'tmp', `${ownerName(owner)}.train-1`));
  store.scratch('x');
  const left = readdirSync(path.join(root, 'tmp'));
  assert.is(left.length, process.platform === 'linux' ? 2 : 3);
});

test('what another host left is swept after an hour without a sign of life', ({ root }) => {
  const minutesAgo = (file: string, minutes: number): void =>
    utimesSync(file, Date.now() / 1000 - 60 * minutes, Date.now() / 1000 - 60 * minutes);
  const leave = (pid: number, scratch: number, beat: number): string => {
    const name = ownerName({ ...newOwner(), host: '0123456789ab', pid });
    for (const [part, file, minutes] of [
      ['tmp', `${name}.train`, scratch],
      ['leases', name, beat],
      ['leases', `${key('a')}.${name}`, beat],
    ] as const) {
      const full = path.join(root, part, file);
      mkdirSync(part === 'tmp' ? full : path.dirname(full), { recursive: true });
      if (part === 'leases') writeFileSync(full, '');
      minutesAgo(full, minutes);
    }
    return name;
  };
  const gone = leave(1, 61, 62),
    writing = leave(2, 1, 62),
    beating = leave(3, 300, 1);
  const left = (): string[] =>
    ['tmp', 'leases'].flatMap((part) => readdirSync(path.join(root, part)));
  // A run with nothing to do sweeps as well.
  const idle = openStore(root);
  idle.tidy();
  idle.close();
  assert.not.ok(left().some((name) => name.includes(gone)));
  assert.ok(left().includes(`${writing}.train`));
  assert.ok(left().includes(`${beating}.train`));
  assert.ok(left().includes(`${key('a')}.${beating}`));
});

test('files outside an entry stay, whatever its manifest says was let go', ({ root }) => {
  const dir = path.join(root, 'entry'),
    kept = path.join(root, 'of-the-user');
  for (const folder of [dir, kept]) mkdirSync(folder, { recursive: true });
  for (const file of [`${dir}/own.npy`, `${kept}/notes.npy`]) writeFileSync(file, '123');
  symlinkSync(kept, path.join(dir, 'linked'));
  const sweep = (...names: readonly string[]): number =>
    sweepLetGo(dir, {
      ...{ content: 'c', seconds: 0, created: '', backend: null },
      files: names.map((name) => ({ path: name, size: 3, sha256: '0' })),
      letGo: names,
    } as unknown as Parameters<typeof sweepLetGo>[1]);
  assert.is(sweep('../of-the-user/notes.npy', `${kept}/notes.npy`, 'own.npy'), 3);
  assert.throws(() => sweep('linked/notes.npy'), /is a link/);
  assert.equal(readdirSync(kept), ['notes.npy']);
  assert.equal(readdirSync(dir), ['linked']);
});

test.run();

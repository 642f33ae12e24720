import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import type { ActionKey } from '../../src/plan/types.ts';
import { ifDiskAllows } from '../../src/store/faults.ts';
import { collectGarbage } from '../../src/store/gc.ts';
import type { ManifestHead } from '../../src/store/manifest.ts';
import { indexFile, openManifestIndex } from '../../src/store/manifest-index.ts';
import { saveRoot } from '../../src/store/roots.ts';
import { readSealed, writeSealed } from '../../src/store/sealed.ts';
import { openStore, type Store } from '../../src/store/store.ts';
import { verifyStore } from '../../src/store/verify.ts';
import { digestFiles } from '../rig/digest-files.ts';
import { later } from '../rig/later.ts';
import { present } from '../rig/present.ts';
import { standIn } from '../rig/stand-in.ts';

const test = suite<{ root: string }>('manifest index');
test.before.each((context) => {
  context.root = path.join(mkdtempSync(path.join(os.tmpdir(), 'dosimeter-')), 'store');
});

const spec = '/specs/grid.yaml';
const key = (n: number): ActionKey => n.toString(16).padStart(64, 'a') as ActionKey;
const seen = { ino: 7, size: 1300, mtimeMs: 1_700_000_000_000.25, ctimeMs: 1_700_000_000_001.5 };
const head = standIn<ManifestHead>({
  content: 'sha256:ab',
  files: [
    { path: 'a/model.txt', size: 3, sha256: 'cd' },
    { path: 'b', size: 0, sha256: 'ef' },
  ],
  seconds: 0.25,
  created: '2026-01-01T00:00:00.000Z',
  backend: 'cpu',
});

function saved(root: string, keys: readonly ActionKey[]): void {
  const index = openManifestIndex(root, spec);
  for (const one of keys) index.note(one, seen, head);
  index.save();
}

test('the next index of the same spec knows the manifests that were read', ({ root }) => {
  assert.is(openManifestIndex(root, spec).get(key(1), seen), null);
  saved(root, [key(1), key(2)]);
  assert.equal(openManifestIndex(root, spec).get(key(2), seen), head);
  assert.is(openManifestIndex(root, spec).get(key(3), seen), null);
  assert.is(openManifestIndex(root, '/specs/other.yaml').get(key(1), seen), null);
});

for (const change of ['ino', 'size', 'mtimeMs', 'ctimeMs'] as const) {
  test(`a manifest of another ${change} is read again`, ({ root }) => {
    saved(root, [key(1)]);
    assert.is(
      openManifestIndex(root, spec).get(key(1), { ...seen, [change]: seen[change] + 0.25 }),
      null,
    );
  });
}

test('the index does not vouch for a manifest younger than a clock tick', ({ root }) => {
  const index = openManifestIndex(root, spec);
  index.note(key(1), { ...seen, ctimeMs: Date.now() - 1000 }, head);
  index.note(key(2), seen, head);
  index.save();
  assert.is(
    openManifestIndex(root, spec).get(key(1), { ...seen, ctimeMs: Date.now() - 1000 }),
    null,
  );
  assert.equal(openManifestIndex(root, spec).get(key(2), seen), head);
});

test('a damaged or unreadable index counts as missing', ({ root }) => {
  saved(root, [key(1)]);
  const file = indexFile(root, spec),
    text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace('1300', '1301'));
  assert.is(openManifestIndex(root, spec).get(key(1), { ...seen, size: 1301 }), null);
  rmSync(file);
  mkdirSync(file);
  assert.is(openManifestIndex(root, spec).get(key(1), seen), null);
});

for (const [what, changes] of [
  ['another format', { format: 3 }],
  ['manifests of another format', { manifests: 2 }],
  ['before it had a format', { format: null }],
] as const) {
  test(`an index of ${what} counts as missing: its lines may mean something else`, ({ root }) => {
    saved(root, [key(1)]);
    const file = indexFile(root, spec),
      { format, manifests, lines } = readSealed<JsonObject>(file) as JsonObject;
    writeSealed(file, {
      format: present(format),
      manifests: present(manifests),
      lines: present(lines),
    });
    assert.equal(openManifestIndex(root, spec).get(key(1), seen), head);
    writeSealed(file, {
      format: present(format),
      manifests: present(manifests),
      lines: present(lines),
      ...changes,
    });
    assert.is(openManifestIndex(root, spec).get(key(1), seen), null);
  });
}

test('the index keeps what was asked for, and is rewritten if an eighth is new', ({ root }) => {
  const keys = Array.from({ length: 20 }, (_, n) => key(n));
  saved(root, keys);
  const written = readFileSync(indexFile(root, spec), 'utf8');
  const reopened = (asked: readonly ActionKey[], fresh: readonly ActionKey[]): void => {
    const index = openManifestIndex(root, spec);
    for (const one of asked) assert.equal(index.get(one, seen), head);
    for (const one of fresh) index.note(one, seen, head);
    index.save();
  };
  reopened(keys, [key(20), key(21)]);
  assert.is(readFileSync(indexFile(root, spec), 'utf8'), written);
  reopened(keys.slice(10), [key(20), key(21)]);
  assert.is(openManifestIndex(root, spec).get(key(0), seen), null);
  reopened(keys.slice(10), []);
  assert.equal(openManifestIndex(root, spec).get(key(21), seen), head);
});

/** Makes a store of one entry, looks it up, saves the index, and opens the store again. */
async function indexed(
  root: string,
): Promise<{ readonly store: Store; readonly dir: string; readonly manifest: string }> {
  const store = openStore(root, { spec }),
    scratch = store.scratch('a');
  writeFileSync(path.join(scratch, 'model.txt'), 'abc');
  const entry = await store.publish(scratch, {
    key: key(1),
    kind: 'train',
    components: { kind: 'train', code: {}, params: {}, inputs: {}, assets: {}, backend: 'cpu' },
    files: await digestFiles(scratch),
    seconds: 1,
    backend: 'cpu',
    facts: {},
    volatile: [],
  });
  const manifest = path.join(entry.dir, 'manifest.json'),
    second = Math.ceil(Date.now() / 1000);
  utimesSync(manifest, second, second); // a time that can be put back to the last digit
  await store.flush();
  store.close();
  reindex(root);
  return { store: openStore(root, { spec }), dir: entry.dir, manifest };
}

function reindex(root: string): void {
  const store = openStore(root, { spec });
  later(() => store.lookUp(key(1)));
  store.saveIndex();
}

/**
 * Overwrites the manifest without changing its size or modification time. Only the inode change
 * time differs, as soon as the clock has ticked.
 */
function writeOver(manifest: string): void {
  const before = lstatSync(manifest),
    text = readFileSync(manifest, 'utf8').replace('"seconds": 1', '"seconds": 2');
  do {
    writeFileSync(manifest, text);
    utimesSync(manifest, before.atime, before.mtime);
  } while (lstatSync(manifest).ctimeMs === before.ctimeMs);
  const { ino, size, mtimeMs } = lstatSync(manifest);
  assert.equal([ino, size, mtimeMs], [before.ino, before.size, before.mtimeMs]);
}

test('a look-up trusts the index for the manifest, and still checks the files', async ({
  root,
}) => {
  const { dir, manifest } = await indexed(root);
  // The index is made to differ from the manifest, to show which of them was read.
  const index = openManifestIndex(root, spec);
  later(() =>
    index.note(key(1), lstatSync(manifest), {
      ...head,
      files: [{ path: 'model.txt', size: 3, sha256: 'other' }],
      seconds: 42,
    }),
  );
  index.save();
  const found = openStore(root, { spec }).lookUp(key(1));
  assert.is(found.state === 'hit' && found.entry.manifest.seconds, 42);
  const unindexed = openStore(root).lookUp(key(1));
  assert.is(unindexed.state === 'hit' && unindexed.entry.manifest.seconds, 1);
  writeFileSync(path.join(dir, 'model.txt'), 'abcd');
  assert.equal(openStore(root, { spec }).lookUp(key(1)), {
    state: 'damaged',
    why: 'model.txt has 4 bytes, not 3',
  });
});

for (const [what, change, state] of [
  ['written over, its time put back', writeOver, 'damaged'],
  [
    'replaced by another file',
    (manifest: string) => {
      writeFileSync(`${manifest}.new`, '{}');
      renameSync(`${manifest}.new`, manifest);
    },
    'damaged',
  ],
  ['gone', (manifest: string) => rmSync(manifest), 'damaged'],
  [
    'gone with its entry',
    (manifest: string) => rmSync(path.dirname(manifest), { recursive: true }),
    'absent',
  ],
] as const) {
  test(`a manifest ${what} is seen in spite of the index`, async ({ root }) => {
    const { store, manifest } = await indexed(root);
    assert.is(store.lookUp(key(1)).state, 'hit');
    change(manifest);
    assert.is(openStore(root, { spec }).lookUp(key(1)).state, state);
  });
}

test('a manifest that is a link is read each time', async ({ root }) => {
  const { manifest } = await indexed(root),
    elsewhere = path.join(root, 'elsewhere.json');
  copyFileSync(manifest, elsewhere);
  utimesSync(elsewhere, lstatSync(manifest).atime, lstatSync(manifest).mtime);
  rmSync(manifest);
  symlinkSync(elsewhere, manifest);
  rmSync(indexFile(root, spec));
  reindex(root);
  assert.is(openStore(root, { spec }).lookUp(key(1)).state, 'hit');
  writeOver(elsewhere);
  assert.is(openStore(root, { spec }).lookUp(key(1)).state, 'damaged');
});

test("a folder in the index's place does no harm, and verify moves it away", async ({ root }) => {
  await indexed(root);
  const file = indexFile(root, spec),
    told: string[] = [];
  rmSync(file);
  mkdirSync(file);
  const store = openStore(root, { spec });
  assert.is(later(() => store.lookUp(key(1))).state, 'hit');
  ifDiskAllows(
    root,
    () => store.saveIndex(),
    (message) => told.push(message),
  );
  assert.match(told.join(), 'EISDIR');
  assert.equal(readdirSync(path.dirname(file)), [path.basename(file)]);
  assert.equal(
    (await verifyStore(openStore(root))).records.map((record) => record.file),
    [file],
  );
  assert.equal(readdirSync(path.dirname(file)), []);
});

test('verify reads every manifest and finds a damaged index', async ({ root }) => {
  const { store } = await indexed(root),
    file = indexFile(root, spec);
  assert.equal((await verifyStore(openStore(root))).records, []);
  writeFileSync(file, readFileSync(file, 'utf8').replace('cpu', 'gpu'));
  assert.equal(
    (await verifyStore(openStore(root))).records.map((record) => record.file),
    [file],
  );
  assert.is(store.lookUp(key(1)).state, 'hit');
});

test('gc keeps the index of a spec that a root names, and no other', async ({ root }) => {
  await indexed(root);
  saveRoot(root, spec, [key(1)]);
  const gone = openManifestIndex(root, '/specs/gone.yaml');
  gone.note(key(1), seen, head);
  gone.save();
  // A run that has nothing to do may be writing such a draft.
  const draft = `${indexFile(root, '/specs/new.yaml')}.${process.pid}`;
  writeFileSync(draft, '{');
  mkdirSync(indexFile(root, '/specs/folder.yaml'));
  await collectGarbage(openStore(root), null, false);
  assert.equal(
    readdirSync(path.join(root, 'index')).sort(),
    [indexFile(root, spec), draft].map((file) => path.basename(file)).sort(),
  );
});

test.run();

/** Entries on their way to a remote and from it. */
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
import { chosenRemote } from '../../../src/run/remote.ts';
import { strayFile } from '../../../src/store/files.ts';
import type { Entry } from '../../../src/store/manifest.ts';
import { folderObjects } from '../../../src/store/remote/folder.ts';
import {
  blobObject,
  entryObject,
  type Objects,
  RemoteFault,
} from '../../../src/store/remote/objects.ts';
import { receiveEntry } from '../../../src/store/remote/receive.ts';
import { objectsAt, pullEntries, pushEntries, Remote } from '../../../src/store/remote/remote.ts';
import { receiveRun, sendEntry, sendRun } from '../../../src/store/remote/send.ts';
import { present } from '../../rig/present.ts';
import { rejects } from '../../rig/rejects.ts';
import {
  createStores,
  type MemoryObjects,
  memoryObjects,
  putEntry,
  type Stores,
  VOLATILE,
} from './double.ts';

const FILES = {
  'model/weights.bin': 'w'.repeat(5000),
  'model/deep/empty': '',
  'metrics.json': '{"accuracy":0.9}',
};

const test = suite<{ stores: Stores; memory: MemoryObjects }>('entries of a remote');
test.before.each((context) => {
  context.stores = createStores();
  context.memory = memoryObjects();
});
test.after.each(({ stores }) => stores.clean());

const manifestText = ({ dir }: Entry): string =>
  readFileSync(path.join(dir, 'manifest.json'), 'utf8');
const leftovers = (root: string): string[] =>
  existsSync(path.join(root, 'tmp')) ? readdirSync(path.join(root, 'tmp')) : [];
const unheard = (message: string): void => assert.unreachable(message);

for (const [what, remoteOf] of [
  ['memory', ({ memory }) => memory],
  ['a folder', ({ stores }) => folderObjects(path.join(stores.dir, 'shared'), 'file:shared')],
] as readonly [string, (context: { stores: Stores; memory: MemoryObjects }) => Objects][]) {
  test(`an entry that goes through ${what} is the same, with what it ran on`, async (context) => {
    const { stores } = context,
      objects = remoteOf(context);
    const from = stores.open('from'),
      to = stores.open('to');
    const sent = await putEntry(from, FILES);
    await objects.open(true);
    assert.equal(await sendEntry(objects, from, sent.key), { state: 'sent', bytes: 5016 });
    assert.equal(await sendEntry(objects, from, sent.key), { state: 'present' });
    assert.equal(await receiveEntry(objects, to, '0'.repeat(64) as Entry['key'], null), {
      state: 'absent',
    });
    const received = await receiveEntry(objects, to, sent.key, VOLATILE);
    if (received.state !== 'received') throw new Error(received.state);
    const { entry } = received;
    assert.is(manifestText(entry), manifestText(sent));
    assert.equal(to.lookUp(sent.key), { state: 'hit', entry: { ...sent, dir: entry.dir } });
    assert.is(await to.check(entry), null);
    assert.equal(
      readdirSync(path.join(to.root, 'environments')),
      readdirSync(path.join(from.root, 'environments')),
    );
    assert.equal(leftovers(to.root), []);
    // A file that is added later shows, also deep in the entry.
    assert.is(strayFile(entry), null);
    writeFileSync(path.join(entry.dir, 'model/deep/added'), '');
    assert.is(strayFile(entry), 'model/deep/added');
  });
}

test('a transfer that breaks off goes on where it was', async ({ stores, memory }) => {
  const from = stores.open('from'),
    to = stores.open('to');
  const { key, manifest } = await putEntry(from, FILES);
  await sendEntry(memory, from, key);
  const weights = present(manifest.files.find(({ path: name }) => name.endsWith('.bin'))).sha256;
  memory.breaks.push(3, 0, 1e9, 20, 1e9, null, 2500, 0, 500);
  const received = await receiveEntry(memory, to, key, VOLATILE);
  assert.is(received.state, 'received');
  const offsets = memory.reads
    .filter((read) => read.startsWith(blobObject(weights)))
    .map((read) => Number(read.split(' ')[1]));
  assert.equal(
    [...offsets].sort((a, b) => a - b),
    offsets,
  );
  assert.ok(offsets.length > 1);
});

test('a remote that breaks off for good leaves nothing here', async ({ stores, memory }) => {
  const from = stores.open('from'),
    to = stores.open('to');
  const { key } = await putEntry(from, FILES);
  await sendEntry(memory, from, key);
  memory.breaks.push(null, ...Array<number>(9).fill(0));
  await rejects(receiveEntry(memory, to, key, VOLATILE), /the connection broke/);
  assert.equal(leftovers(to.root), []);
  assert.equal(to.keys(), []);
});

test('concurrent pulls of one entry fetch it once', async ({ stores, memory }) => {
  const from = stores.open('from');
  const { key } = await putEntry(from, FILES);
  await sendEntry(memory, from, key);
  memory.reads.length = 0;
  const pulls = [stores.open('to'), stores.open('to'), stores.open('to')].map((store) =>
    pullEntries(new Remote(memory, store, { tell: unheard }), store, [{ key, volatile: null }]),
  );
  const pulled = await Promise.all(pulls);
  assert.is(
    pulled.reduce((sum, { fetched }) => sum + fetched, 0),
    1,
  );
  assert.equal(
    pulled.flatMap(({ lacking }) => lacking),
    [],
  );
  assert.is(memory.reads.filter((read) => read.startsWith(entryObject(key))).length, 1);
});

test('only files that the remote lacks are sent, and damaged entries never are', async ({
  stores,
  memory,
}) => {
  const from = stores.open('from');
  const one = await putEntry(from, FILES, 1),
    two = await putEntry(from, { ...FILES, 'model/weights.bin': 'v'.repeat(10) }, 2);
  const pushed = await pushEntries(memory, from, [one.key, two.key], false);
  assert.equal(pushed, { sent: 2, present: 0, bytes: pushed.bytes, unsound: [] });
  // The files that both have were sent once, or twice at the same time.
  assert.is([...memory.held.keys()].filter((name) => name.includes('/blobs/')).length, 4);
  // A file that the remote lost, or has at another length, is sent again.
  const blob = [...memory.held.keys()].find((name) => name.includes('/blobs/'));
  memory.held.set(present(blob), Buffer.from('cut'));
  assert.is((await pushEntries(memory, from, [one.key, two.key], false)).present < 2, true);
  assert.is((await pushEntries(memory, from, [one.key, two.key], false)).present, 2);
  assert.is((await pushEntries(memory, from, [one.key], true)).sent, 1);
  // A disk has flipped a bit and left the times as they were.
  memory.held.clear();
  const file = path.join(one.dir, 'model/weights.bin');
  writeFileSync(file, 'w'.repeat(4999) + 'x');
  utimesSync(file, 1e9, 1e9);
  const refused = await pushEntries(memory, from, [one.key, '0'.repeat(64) as Entry['key']], false);
  assert.equal(refused.unsound, [
    { key: one.key, why: 'model/weights.bin was changed' },
    { key: '0'.repeat(64), why: 'it is not here' },
  ]);
  assert.not.ok(memory.held.has(entryObject(one.key)));
  for (const [name, bytes] of memory.held)
    if (name.includes('/blobs/')) assert.not.equal(bytes, readFileSync(file));
});

test('a remote that fails again and again is not asked any more', async ({ stores, memory }) => {
  const told: string[] = [];
  const to = stores.open('to');
  memory.sizeOf = () => Promise.reject(new RemoteFault('memory: is away'));
  const remote = new Remote(memory, to, { tell: (message) => told.push(message) });
  for (const digit of '12345')
    assert.is(await remote.fetch(digit.repeat(64) as Entry['key'], null), null);
  assert.equal(told, [
    '1111111111: memory: is away',
    '2222222222: memory: is away',
    '3333333333: memory: is away',
    'memory: is not asked any more',
  ]);
  assert.is((await remote.settled()).failed, 3);
});

test('new entries are sent while others are fetched, and none once the run was stopped', async ({
  stores,
  memory,
}) => {
  const from = stores.open('from'),
    { key } = await putEntry(from, FILES),
    stop = new AbortController();
  const remote = new Remote(memory, from, { tell: unheard, signal: stop.signal });
  remote.sendSoon(key);
  assert.equal(await remote.settled(), { fetched: 0, sent: 1, bytes: 5016, failed: 0 });
  // What is under way when the run is stopped ends, and leaves nothing.
  const to = stores.open('to'),
    fetching = new Remote(memory, to, { tell: unheard, signal: stop.signal });
  const read = memory.read.bind(memory);
  memory.read = (name, offset) => {
    if (name.includes('/blobs/')) stop.abort();
    return read(name, offset);
  };
  assert.is(await fetching.fetch(key, null), null);
  assert.equal([...leftovers(to.root), ...to.keys()], []);
  remote.sendSoon((await putEntry(from, FILES, 2)).key);
  assert.is((await remote.settled()).sent, 1);
});

test('the keys of a run are kept under its id', async ({ memory }) => {
  const id = '20260131-120000-42',
    keys = ['a', 'b'].map((digit) => digit.repeat(64) as Entry['key']);
  await sendRun(memory, id, keys);
  assert.equal(await receiveRun(memory, id), keys);
  await rejects(receiveRun(memory, '20260131-120000-43'), /memory: has no run/);
  const [name = ''] = memory.held.keys();
  for (const text of [
    '',
    '{"keys":["../x"]}',
    '[]',
    '{"keys":[1],"checksum":"x"}',
    '['.repeat(999),
  ]) {
    memory.held.set(name, Buffer.from(text));
    await rejects(receiveRun(memory, id), /the record of the run/);
  }
});

test('a folder of a remote is swept of what a killed sender left long ago', async ({ stores }) => {
  const root = path.join(stores.dir, 'shared'),
    tmp = path.join(root, 'v1/tmp');
  mkdirSync(tmp, { recursive: true });
  for (const [name, days] of [
    ['old', 8],
    ['new', 6],
  ] as const) {
    writeFileSync(path.join(tmp, name), '');
    const then = Date.now() / 1000 - days * 24 * 3600;
    utimesSync(path.join(tmp, name), then, then);
  }
  await folderObjects(root, 'file:shared').open(true);
  assert.equal(readdirSync(tmp), ['new']);
});

test('a URI is a folder, a bucket, or a fault', async ({ stores }) => {
  const folder = path.join(stores.dir, 'with space');
  for (const uri of [`file:${folder}`, `file://${encodeURI(folder)}`]) {
    const objects = await objectsAt(uri);
    await objects.open(true);
    await objects.write(
      'v1/x',
      1,
      (async function* () {
        yield await Promise.resolve(Buffer.from('x'));
      })(),
    );
    assert.is(await objects.sizeOf('v1/x'), 1);
  }
  assert.ok(existsSync(path.join(folder, 'v1/x')));
  assert.is((await objectsAt('s3://bucket/a/b/')).uri, 's3://bucket/a/b/');
  for (const uri of ['', 'x', 'http://x', 's3:', 's3://', 's3://B', 's3://b.', 'file:'])
    await rejects(objectsAt(uri), /is not a remote|names no folder/);
  await rejects(objectsAt('s3://key:secret@b/c'), /^"s3:\/\/…@b\/c" is not a remote$/);
  assert.throws(
    () => chosenRemote({ push: true }),
    /no remote is named that entries could be sent to/,
  );
  assert.equal(chosenRemote({ remote: 'file:x' }), { uri: 'file:x', push: false });
  for (const uri of ['s3://bucket/../x', 's3://bucket//x', 's3://bucket/a\n', 'file://host/x'])
    await rejects(objectsAt(uri), /has a prefix that|is not a remote|is not the URL/);
});

test.run();

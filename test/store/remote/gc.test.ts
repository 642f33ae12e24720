/** `gc` of a remote: what goes, what stays, and how it and pushes keep out of each other's way. */
import { existsSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Entry } from '../../../src/store/manifest.ts';
import { folderObjects } from '../../../src/store/remote/folder.ts';
import {
  beginPush,
  beginSweep,
  parseGrace,
  type RemoteSweepOptions,
  sweepRemote,
} from '../../../src/store/remote/gc.ts';
import { blobObject, entryObject, type Listed } from '../../../src/store/remote/objects.ts';
import { receiveEntry } from '../../../src/store/remote/receive.ts';
import { pushEntries } from '../../../src/store/remote/remote.ts';
import { sendEntry, sendRun, sendText } from '../../../src/store/remote/send.ts';
import { rejects } from '../../rig/rejects.ts';
import {
  createStores,
  type MemoryObjects,
  memoryObjects,
  putEntry,
  type Stores,
  VOLATILE,
} from './double.ts';

const DAY = 24 * 3600 * 1000;
const ORPHAN = blobObject('e'.repeat(64));

interface Scene {
  stores: Stores;
  memory: MemoryObjects;
  /** Three entries, sent a day apart; all share one file. */
  entries: readonly Entry[];
}

const test = suite<Scene>('gc of a remote');
test.before.each(async (context) => {
  context.stores = createStores();
  context.memory = memoryObjects();
  const store = context.stores.open('from');
  const entries: Entry[] = [];
  for (const seed of [1, 2, 3]) {
    context.memory.now = seed * DAY;
    const files = { 'weights.bin': String(seed).repeat(1000 * seed), 'shared.txt': 's'.repeat(50) };
    const entry = await putEntry(store, files, seed);
    await sendEntry(context.memory, store, entry.key);
    entries.push(entry);
  }
  context.entries = entries;
});
test.after.each(({ stores }) => stores.clean());

const sweep = (memory: MemoryObjects, options: Partial<RemoteSweepOptions> = {}) =>
  sweepRemote(memory, { maxBytes: null, graceMs: 7 * DAY, dryRun: false, ...options });

const namesOf = ({ held }: MemoryObjects): readonly string[] => [...held.keys()].sort();

test('what no entry needs goes once it is older than the grace period', async ({ memory }) => {
  const before = namesOf(memory);
  memory.now = 10 * DAY;
  await sendText(memory, ORPHAN, 'left by a push that was killed');
  assert.is((await sweep(memory)).young, 1);
  assert.ok(memory.held.has(ORPHAN));
  memory.now = 18 * DAY;
  const swept = await sweep(memory);
  assert.equal([swept.objects, swept.bytes, swept.young], [1, 30, 0]);
  assert.equal(swept.entries, []);
  assert.equal(namesOf(memory), before);
});

test('entries go in the order in which they were sent, and what others need stays', async ({
  memory,
  entries,
  stores,
}) => {
  memory.now = 30 * DAY;
  await sendRun(memory, '20260131-120000-1', [entries[0]?.key ?? ('' as Entry['key'])]);
  memory.now = 60 * DAY;
  const swept = await sweep(memory, { maxBytes: 4000 });
  assert.equal(
    swept.entries,
    entries.slice(0, 2).map(({ key }) => key),
  );
  assert.is(swept.kept.entries, 1);
  assert.ok(swept.kept.bytes <= 4000, String(swept.kept.bytes));
  assert.not(memory.held.has('v1/runs/20260131-120000-1.json'), 'none of its entries is left');
  for (const [i, { key }] of entries.entries()) {
    const received = await receiveEntry(memory, stores.open('to'), key, VOLATILE);
    assert.is(received.state, i < 2 ? 'absent' : 'received');
  }
});

test('within the grace period no entry goes, whatever the size', async ({ memory }) => {
  memory.now = 9 * DAY; // the first was sent eight days ago
  const swept = await sweep(memory, { maxBytes: 0 });
  assert.is(swept.entries.length, 1);
  assert.is(swept.kept.entries, 2);
});

test('a dry run says the same and writes nothing', async ({ memory }) => {
  memory.now = Date.now();
  const before = namesOf(memory);
  const write = memory.write.bind(memory);
  memory.write = () => Promise.reject(new Error('it writes'));
  const dry = await sweep(memory, { maxBytes: 1000, dryRun: true });
  assert.equal(namesOf(memory), before);
  memory.write = write;
  assert.equal(dry, await sweep(memory, { maxBytes: 1000 }));
});

test('a damaged manifest goes, one of another version stops the sweep', async ({
  memory,
  entries,
}) => {
  memory.now = 60 * DAY;
  const [first, second] = entries;
  if (!first || !second) throw new Error('there are three entries');
  const text = memory.held.get(entryObject(first.key))?.toString() ?? '';
  memory.held.set(entryObject(first.key), Buffer.from(text.slice(0, -20)));
  const swept = await sweep(memory);
  assert.is(swept.damaged, 1);
  assert.not(memory.held.has(entryObject(first.key)));
  assert.is(swept.objects, 1, 'its own file, and not the shared one');

  const { createHash } = await import('node:crypto');
  const body = text
    .slice(0, text.lastIndexOf(',\n  "checksum"'))
    .replace(/"format": 1/, '"format": 9');
  const checksum = createHash('sha256').update(body).digest('hex');
  const other = `${body},\n  "checksum": "${checksum}"\n}\n`;
  memory.held.set(entryObject(first.key), Buffer.from(other));
  const before = namesOf(memory);
  await rejects(sweep(memory, { maxBytes: 0 }), /has entries of another version/);
  assert.equal(namesOf(memory), before);
});

test('gc gives up while something is pushed, and a push waits for gc', async ({
  memory,
  entries,
  stores,
}) => {
  const push = await beginPush(memory, () => undefined);
  await rejects(sweep(memory), /a push sends to memory:/);
  await push.end();
  const gc = await beginSweep(memory);
  await rejects(sweep(memory), /another gc sweeps memory:/);
  const told: string[] = [];
  const keys = entries.map(({ key }) => key);
  let done = false;
  const pushing = pushEntries(memory, stores.open('from'), keys, false, (text) =>
    told.push(text),
  ).then((pushed) => {
    done = true;
    return pushed;
  });
  while (told.length === 0) await sleep(5);
  assert.not(done);
  await gc.end();
  assert.is((await pushing).present, 3);
  assert.equal(told, ['gc is sweeping memory:; waiting']);
  assert.equal(
    namesOf(memory).filter((name) => name.startsWith('v1/signs/')),
    [],
  );
});

test('the sign of a process that was killed counts for a quarter of an hour', async ({
  memory,
}) => {
  memory.now = 60 * DAY;
  await sendText(memory, 'v1/signs/push-left', 'push\n');
  await rejects(sweep(memory), /a push sends to memory:/);
  memory.now += 16 * 60_000;
  assert.is((await sweep(memory)).kept.entries, 3);
});

test('a push at the very time of a sweep loses nothing', async ({ memory, stores }) => {
  // An unneeded file, long there, that an entry which is pushed now needs.
  const store = stores.open('from');
  const entry = await putEntry(store, { 'old.bin': 'o'.repeat(500) }, 9);
  const blob = blobObject(entry.manifest.files[0]?.sha256 ?? '');
  await sendText(memory, blob, 'o'.repeat(500));
  memory.now = 60 * DAY;
  const list = memory.list.bind(memory);
  let pushing: Promise<unknown> = Promise.resolve();
  // The push begins once the sweep has listed the files, and before it removes any.
  memory.list = async function* (folder): AsyncGenerator<Listed> {
    yield* list(folder);
    if (folder === 'entries') pushing = pushEntries(memory, store, [entry.key], false);
  };
  const swept = await sweep(memory);
  memory.list = list;
  assert.is(swept.objects, 1);
  await pushing;
  const received = await receiveEntry(memory, stores.open('to'), entry.key, VOLATILE);
  assert.is(received.state, 'received');
});

test('a folder is swept like any other remote; what is not an object stays', async ({
  stores,
  entries,
}) => {
  const root = path.join(stores.dir, 'shared');
  const objects = folderObjects(root, 'file:shared');
  await objects.open(true);
  await pushEntries(
    objects,
    stores.open('from'),
    entries.map(({ key }) => key),
    false,
  );
  const orphan = path.join(root, ORPHAN);
  mkdirSync(path.dirname(orphan), { recursive: true });
  writeFileSync(orphan, 'left');
  writeFileSync(path.join(root, 'notes.txt'), 'of the user');
  const options = { maxBytes: null, graceMs: DAY, dryRun: false };
  assert.is((await sweepRemote(objects, options)).young, 1);
  const then = Date.now() / 1000 - 2 * 24 * 3600;
  utimesSync(orphan, then, then);
  const swept = await sweepRemote(objects, options);
  assert.equal([swept.objects, swept.kept.entries], [1, 3]);
  assert.not(existsSync(orphan));
  assert.ok(existsSync(path.join(root, 'notes.txt')));
});

test('a grace period is a time', () => {
  assert.equal(['90m', '12h', '7d'].map(parseGrace), [90 * 60_000, DAY / 2, 7 * DAY]);
  for (const text of ['', '7', 'week', '-1d', '7 days'])
    assert.throws(() => parseGrace(text), /--grace takes a time such as 12h or 7d/);
});

test.run();

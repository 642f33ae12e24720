/** What a remote may hold instead of an entry: each is refused by name and leaves nothing here. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { actionKey, contentDigest } from '../../../src/plan/keys.ts';
import {
  type Entry,
  type Manifest,
  type ManifestFile,
  printManifest,
} from '../../../src/store/manifest.ts';
import { blobObject, entryObject } from '../../../src/store/remote/objects.ts';
import { receiveEntry } from '../../../src/store/remote/receive.ts';
import { sendEntry } from '../../../src/store/remote/send.ts';
import { present } from '../../rig/present.ts';
import {
  componentsOf,
  createStores,
  type MemoryObjects,
  memoryObjects,
  putEntry,
  type Stores,
  VOLATILE,
} from './double.ts';

interface Context {
  stores: Stores;
  memory: MemoryObjects;
  key: Entry['key'];
  manifest: Manifest;
}

const test = suite<Context>('hostile remotes');
test.before.each(async (context) => {
  context.stores = createStores();
  context.memory = memoryObjects();
  const from = context.stores.open('from');
  const { key } = await putEntry(from, { 'a/model.bin': 'm'.repeat(3000), 'metrics.json': '{}' });
  context.key = key;
  context.manifest = present(from.manifest(key));
  await sendEntry(context.memory, from, key);
});
test.after.each(({ stores }) => stores.clean());

/** Receives the entry, which must be refused, and returns why. */
async function refusal({ stores, memory, key }: Context): Promise<string> {
  const to = stores.open('to');
  const received = await receiveEntry(memory, to, key, VOLATILE);
  assert.equal(to.keys(), []);
  const tmp = path.join(to.root, 'tmp');
  assert.equal(existsSync(tmp) ? readdirSync(tmp) : [], []);
  assert.equal(readdirSync(stores.dir).sort(), ['from', ...(existsSync(to.root) ? ['to'] : [])]);
  if (received.state !== 'refused') throw new Error(`it is ${received.state}`);
  return received.why;
}

/** Puts another manifest into the remote, with a right checksum. */
const forge = ({ memory, key, manifest }: Context, changed: object): void =>
  void memory.held.set(entryObject(key), Buffer.from(printManifest({ ...manifest, ...changed })));

const first = ({ manifest }: Context): ManifestFile => present(manifest.files[0]);
const files = (context: Context, ...changed: readonly object[]): object => {
  const all = changed.map((change) => ({ ...first(context), ...change }));
  return { files: all, content: contentDigest(all, VOLATILE) };
};

const MANIFESTS: readonly (readonly [string, (context: Context) => object, RegExp])[] = [
  [
    'the components of another entry',
    () => ({ components: componentsOf(7) }),
    /the components of another entry/,
  ],
  ['components that are none', () => ({ components: [] }), /malformed components/],
  ['another kind', () => ({ kind: 'evaluate' }), /malformed components/],
  ['no files', () => ({ files: [] }), /no list of files/],
  ['files that are none', () => ({ files: [null] }), /a malformed file/],
  [
    'a path that leads out',
    (of) => files(of, { path: '../../escaped' }),
    /leads out of its folder/,
  ],
  ['an absolute path', (of) => files(of, { path: '/tmp/escaped' }), /is an absolute path/],
  ['a path with a backslash', (of) => files(of, { path: '..\\x' }), /holds a backslash/],
  ['a path with a line break', (of) => files(of, { path: 'a\nb' }), /holds a control character/],
  ['a path that is a number', (of) => files(of, { path: 7 }), /is not text/],
  ['the name of the manifest', (of) => files(of, { path: 'manifest.json' }), /names manifest.json/],
  ['one file twice', (of) => files(of, {}, {}), /names a\/model.bin twice/],
  [
    'a file in a file',
    (of) => files(of, { path: 'a' }, {}),
    /a\/model.bin, whose folder is also a file/,
  ],
  ['a negative size', (of) => files(of, { size: -1 }), /an invalid size/],
  ['a broken size', (of) => files(of, { size: 0.5 }), /an invalid size/],
  ['a size above the bound', (of) => files(of, { size: 2 ** 50 }), /more than 200 GB/],
  ['a size that is not true', (of) => files(of, { size: 2999 }), /has 3000 bytes, not 2999/],
  ['a digest that is a path', (of) => files(of, { sha256: '../x' }), /an invalid digest/],
  [
    'a digest that nothing has',
    (of) => files(of, { sha256: '0'.repeat(64) }),
    /a\/model.bin is missing/,
  ],
  [
    'the content of another entry',
    () => ({ content: `sha256:${'0'.repeat(64)}` }),
    /digest of the content is not that of its files/,
  ],
  ['a content that is none', () => ({ content: 7 }), /no digest of its content/],
  ['a date with an escape code', () => ({ created: '\u001b[2J' }), /has no date/],
  ['a duration that is none', () => ({ seconds: '1' }), /has no duration/],
  ['an unknown backend', () => ({ backend: '__proto__' }), /an unknown backend/],
  ['no facts', () => ({ facts: null }), /malformed record of where it ran/],
  ['facts of no backend', () => ({ facts: { computed: 1 } }), /malformed record of where it ran/],
  [
    'a backend with an escape code',
    ({ manifest: { facts } }) => ({
      facts: { computed: { ...(facts['computed'] as object), gpu: 'a\u001b[2J' } },
    }),
    /malformed record of where it ran/,
  ],
  ['another format', () => ({ format: 2 }), /the format 2/],
  ["another entry's key", () => ({ key: '0'.repeat(64) }), /of another entry/],
];

for (const [what, change, why] of MANIFESTS)
  test(`a manifest with ${what} is refused`, async (context) => {
    forge(context, change(context));
    assert.match(await refusal(context), why);
  });

const BYTES: readonly (readonly [string, (text: string) => string | Buffer, RegExp])[] = [
  ['cut short', (text) => text.slice(0, 400), /its manifest is not JSON/],
  ['empty', () => '', /its manifest is not JSON/],
  ['changed', (text) => text.replace('"seconds": 2.5', '"seconds": 2.6'), /was changed/],
  ['not text', () => Buffer.from([0xff, 0xfe, 0]), /its manifest is not UTF-8 text/],
  ['a million brackets', () => '['.repeat(1e6), /nested more than 100 deep/],
];

for (const [what, change, why] of BYTES)
  test(`a manifest that is ${what} is refused`, async (context) => {
    const { memory, key } = context,
      text = present(memory.held.get(entryObject(key))).toString('utf8');
    memory.held.set(entryObject(key), Buffer.from(change(text)));
    assert.match(await refusal(context), why);
  });

const BLOBS: readonly (readonly [string, (bytes: Buffer) => Buffer | null, RegExp])[] = [
  ['is missing', () => null, /a\/model.bin is missing/],
  ['is cut short', (bytes) => bytes.subarray(0, 2999), /has 2999 bytes, not 3000/],
  ['is longer', (bytes) => Buffer.concat([bytes, bytes]), /has 6000 bytes, not 3000/],
  ['is another', () => Buffer.alloc(3000, 'n'), /a\/model.bin was changed/],
];

for (const [what, change, why] of BLOBS)
  test(`a file that ${what} is refused`, async (context) => {
    const { memory } = context,
      name = blobObject(first(context).sha256);
    const changed = change(present(memory.held.get(name)));
    if (changed === null) memory.held.delete(name);
    else memory.held.set(name, changed);
    assert.match(await refusal(context), why);
  });

test('a server that sends more or less than it says is refused', async (context) => {
  const { memory } = context,
    name = blobObject(first(context).sha256),
    honest = memory.read.bind(memory);
  memory.read = (object, from) => {
    memory.said = object === name ? 3000 : null;
    return honest(object, from);
  };
  memory.held.set(name, Buffer.alloc(1e6, 'm'));
  assert.match(await refusal(context), /a\/model.bin has more than 3000 bytes/);
  memory.held.set(name, Buffer.alloc(2999, 'm'));
  assert.match(await refusal(context), /a\/model.bin is cut short after 2999 bytes/);
});

test('an environment whose content does not match its name is left out', async (context) => {
  const { memory, stores, key } = context,
    name = present([...memory.held.keys()].find((object) => object.includes('/environments/')));
  memory.held.set(name, Buffer.from('{"hostile":true}'));
  const to = stores.open('to');
  assert.is((await receiveEntry(memory, to, key, VOLATILE)).state, 'received');
  assert.not.ok(existsSync(path.join(to.root, 'environments')));
});

test('names of objects are made of digests alone', () => {
  for (const id of ['', '../x', 'A'.repeat(64), `${'a'.repeat(64)}/..`, 'a'.repeat(63)])
    for (const make of [blobObject, entryObject]) assert.throws(() => make(id), /is not a digest/);
  assert.is(actionKey(componentsOf(1)).length, 64);
});

test.run();

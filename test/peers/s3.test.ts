/** Remotes in an S3 bucket, on a real server. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { sweepRemote } from '../../src/store/remote/gc.ts';
import { blobObject, type Objects } from '../../src/store/remote/objects.ts';
import { receiveEntry } from '../../src/store/remote/receive.ts';
import { objectsAt, pullEntries, pushEntries, Remote } from '../../src/store/remote/remote.ts';
import { present } from '../rig/present.ts';
import { createProject, writeToys } from '../rig/project.ts';
import { rejects } from '../rig/rejects.ts';
import { createStores, putEntry, type Stores, VOLATILE } from '../store/remote/double.ts';
import { type S3Server, startS3 } from './weed.ts';

const BUCKET = 'results',
  URI = `s3://${BUCKET}/team/dosimeter`,
  MB = 1 << 20;

interface Context {
  server: S3Server;
  client: S3Client;
  objects: Objects;
  stores: Stores;
}

const test = suite<Context>('peers/s3');
const before = { ...process.env };
test.before(async (context) => {
  context.server = await startS3();
  Object.assign(process.env, context.server.env);
  context.client = new S3Client({ region: 'us-east-1', forcePathStyle: true, maxAttempts: 20 });
  await context.client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  context.objects = await objectsAt(URI);
});
test.before.each((context) => {
  context.stores = createStores();
});
test.after.each(({ stores }) => stores.clean());
test.after(async ({ server }) => {
  for (const name of Object.keys(server.env)) {
    const value = before[name];
    if (value === undefined) Reflect.deleteProperty(process.env, name);
    else process.env[name] = value;
  }
  await server.clean();
});

const bytesOf = async function* (n: number, pieces: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < pieces; i++) yield await Promise.resolve(Buffer.alloc(n, i));
};
const unheard = (message: string): void => assert.unreachable(message);

test('an entry goes to the bucket and comes back, a large file in parts', async ({
  objects,
  stores,
}) => {
  await objects.open(true);
  const from = stores.open('from'),
    to = stores.open('to');
  const entry = await putEntry(from, {
    'model.bin': 'abcdefgh'.repeat((20 * MB) / 8),
    'model/empty': '',
    'metrics.json': '{}',
  });
  const [one, two] = await Promise.all(
    [1, 2].map(() => pushEntries(objects, from, [entry.key], false)),
  );
  assert.is(present(one).unsound.length + present(two).unsound.length, 0);
  assert.is((await pushEntries(objects, from, [entry.key], false)).present, 1);
  const remote = new Remote(objects, to, { tell: unheard });
  const wanted = [{ key: entry.key, volatile: VOLATILE }];
  assert.equal(await pullEntries(remote, to, wanted), {
    fetched: 1,
    sent: 0,
    bytes: 20 * MB + 2,
    failed: 0,
    here: 0,
    lacking: [],
  });
  const found = to.lookUp(entry.key);
  if (found.state !== 'hit') throw new Error(found.state);
  assert.is(await to.check(found.entry), null);
  assert.equal(found.entry.manifest, entry.manifest);
});

test('gc of a bucket removes what no entry needs, and leaves other prefixes alone', async ({
  client,
  stores,
}) => {
  const objects = await objectsAt(`s3://${BUCKET}/gc`);
  const from = stores.open('from'),
    to = stores.open('to');
  const entry = await putEntry(from, { 'model.bin': 'kept'.repeat(1000) }, 77);
  await pushEntries(objects, from, [entry.key], false);
  const orphan = blobObject('e'.repeat(64)),
    other = 'other/file';
  for (const Key of [`gc/${orphan}`, other])
    await client.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'left' }));
  const options = { maxBytes: null, graceMs: 3600_000, dryRun: false };
  assert.is((await sweepRemote(objects, options)).young, 1);
  assert.is(await objects.sizeOf(orphan), 4);
  await sleep(1_100); // S3 tells whole seconds
  const swept = await sweepRemote(objects, { ...options, graceMs: 0 });
  assert.equal([swept.objects, swept.bytes], [1, 4]);
  assert.is(await objects.sizeOf(orphan), null);
  const elsewhere = await objectsAt(`s3://${BUCKET}`);
  assert.is(await elsewhere.sizeOf(other), 4);
  assert.is((await receiveEntry(objects, to, entry.key, VOLATILE)).state, 'received');
});

test('an object is read from an offset, and an absent one is none', async ({ objects }) => {
  await objects.write('v1/object', 20 * MB, bytesOf(MB, 20));
  assert.is(await objects.sizeOf('v1/object'), 20 * MB);
  const reading = present(await objects.read('v1/object', 19 * MB + 5));
  const read: Uint8Array[] = [];
  for await (const chunk of reading.bytes) read.push(chunk);
  assert.is(reading.size, 20 * MB);
  assert.ok(Buffer.concat(read).equals(Buffer.alloc(MB - 5, 19)));
  assert.is(await objects.sizeOf('v1/none'), null);
  assert.is(await objects.read('v1/none', 0), null);
});

test('an upload that fails halfway leaves no object', async ({ objects }) => {
  const broken = async function* (): AsyncGenerator<Uint8Array> {
    yield* bytesOf(MB, 35);
    throw new Error('the file was changed');
  };
  await rejects(objects.write('v1/half', 40 * MB, broken()), /^the file was changed$/);
  assert.is(await objects.sizeOf('v1/half'), null);
});

test('an object that somebody has changed is refused', async ({ objects, client, stores }) => {
  const from = stores.open('from'),
    entry = await putEntry(from, { 'model.bin': 'a model' }, 2);
  await pushEntries(objects, from, [entry.key], false);
  const Key = `team/dosimeter/${blobObject(present(entry.manifest.files[0]).sha256)}`;
  await client.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'a modem' }));
  assert.equal(await receiveEntry(objects, stores.open('to'), entry.key, VOLATILE), {
    state: 'refused',
    why: 'model.bin was changed',
  });
});

test('runs share results through the bucket', async ({ server }) => {
  const project = createProject();
  writeToys(project);
  const run = (...args: readonly string[]) =>
    project.startWith({ env: server.env }, 'run', 'spec.yaml', '--remote', URI, ...args).ended;
  const first = await run('--push');
  assert.is(first.code, 0, first.stderr);
  assert.match(first.stderr, `entries: 13 sent to ${URI}`);
  rmSync(path.join(project.dir, '.dosimeter/store'), { recursive: true });
  const lines = project.lines('ran.log').length;
  const second = await run();
  assert.is(second.code, 0, second.stderr);
  assert.match(second.stderr, `entries: 13 fetched from ${URI}`);
  assert.is(project.lines('ran.log').length, lines);
  assert.is(second.stdout, first.stdout);
});

test('what is wrong with a bucket or its credentials is said', async () => {
  await rejects((await objectsAt('s3://nowhere')).open(false), /there is no bucket "nowhere"/);
  const secret = process.env['AWS_SECRET_ACCESS_KEY'];
  try {
    process.env['AWS_SECRET_ACCESS_KEY'] = 'wrong';
    await rejects((await objectsAt(URI)).open(false), /refuses access|credentials are .* wrong/);
  } finally {
    process.env['AWS_SECRET_ACCESS_KEY'] = secret;
  }
});

test('a server that dies in the middle of a transfer is a fault, and nothing stays here', async ({
  objects,
  server,
  stores,
}) => {
  const from = stores.open('from'),
    to = stores.open('to'),
    entry = await putEntry(from, { 'model.bin': 'abcdefgh'.repeat((20 * MB) / 8) }, 3);
  await pushEntries(objects, from, [entry.key], false);
  const dying: Objects = {
    ...objects,
    async read(name, offset) {
      const reading = await objects.read(name, offset);
      if (reading === null || !name.includes('/blobs/')) return reading;
      return {
        ...reading,
        bytes: (async function* () {
          for await (const chunk of reading.bytes) {
            yield chunk;
            await server.kill();
          }
        })(),
      };
    },
  };
  await rejects(receiveEntry(dying, to, entry.key, VOLATILE), new RegExp(`^${URI}: `));
  assert.equal(to.keys(), []);
});

test.run();

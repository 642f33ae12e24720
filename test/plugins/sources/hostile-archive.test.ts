/** Archives that lie: what they name stays in its folder, and what they unpack to is limited. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as tar from 'tar';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { untar, unzip } from '../../../plugins/sources/shared/archive.ts';
import { GB, unpackedLimit } from '../../../src/base/untrusted/limits.ts';
import { type Hostile, startHostile } from './hostile-server.ts';
import { faultOf, zip } from './registry.ts';

const test = suite<Hostile>('hostile archives');
test.before.each(async (hostile) => {
  Object.assign(hostile, await startHostile());
});
test.after.each((hostile) => hostile.close());

test('a zip file unpacks into its folder, and to no more than is allowed', async (hostile) => {
  let runs = 0;
  const unpack = async (
    files: Parameters<typeof zip>[0],
    env = {},
  ): Promise<{ message: string; hint: string }> => {
    const path = join(hostile.dir, 'bin', 'x.whl'),
      into = join(hostile.dir, 'a', String(runs++));
    mkdirSync(into, { recursive: true });
    writeFileSync(path, zip(files));
    return faultOf(unzip(path, into, env));
  };
  // 2.9 MB may not become 3 GB. A large package may become larger, and the user may raise the
  // limit.
  assert.is(unpackedLimit(2.9e6, {}).value, GB);
  assert.is(unpackedLimit(GB / 10, {}).value, 5 * GB);
  assert.is(unpackedLimit(4 * GB, {}).value, 16 * GB);
  assert.is(unpackedLimit(1, { DOSIMETER_UNPACK_GB: '3' }).value, 3 * GB);
  const large = await unpack(
    { a: 'x'.repeat(600_000), b: 'x'.repeat(600_000) },
    { DOSIMETER_UNPACK_GB: '0.001' },
  );
  assert.match(
    `${large.message} ${large.hint}`,
    /unpacks to more than .*raise DOSIMETER_UNPACK_GB/,
  );
  const many = await unpack({ a: '', b: '', c: '', d: '' }, { DOSIMETER_FETCH_FILES: '3' });
  assert.match(`${many.message} ${many.hint}`, /more than 3 files.*raise DOSIMETER_FETCH_FILES/);
  for (const name of [
    '../escaped',
    '/tmp/escaped',
    'a/../../escaped',
    'a\\..\\escaped',
    'a//b',
    'x'.repeat(256),
  ])
    await unpack({ [name]: 'x' });
  await unpack({ a: 'x', 'a/b': 'x' });
  assert.equal(
    hostile.beside().filter((name) => !/^a\/\d/.test(name)),
    [],
  );
});

test('the same holds for an npm archive, and for one that unzips to nothing', async (hostile) => {
  const dir = join(hostile.dir, 'bin'),
    archive = join(dir, 'x.tgz');
  let runs = 0;
  const unpack = (env = {}): Promise<{ message: string; hint: string }> => {
    const into = join(hostile.dir, 'a', `t${runs++}`);
    mkdirSync(into, { recursive: true });
    return faultOf(untar(archive, into, env));
  };
  const pack = (name: string, content: string): Buffer => {
    const header = new tar.Header({ path: name, size: content.length, type: 'File', mode: 0o644 });
    header.encode();
    return Buffer.concat([
      header.block ?? Buffer.alloc(0),
      Buffer.from(content.padEnd(Math.ceil(content.length / 512) * 512, '\0')),
    ]);
  };
  const end = Buffer.alloc(1024);
  for (const name of [
    'package/../../escaped',
    'package/a/../../../escaped',
    '../../escaped',
    'package/a\\..\\..\\escaped',
  ]) {
    writeFileSync(archive, gzipSync(Buffer.concat([pack(name, 'x'), end])));
    await unpack();
  }
  writeFileSync(archive, gzipSync(Buffer.concat([pack('package/a', 'x'.repeat(2_000_000)), end])));
  assert.match((await unpack({ DOSIMETER_UNPACK_GB: '0.001' })).hint, 'raise DOSIMETER_UNPACK_GB');
  writeFileSync(
    archive,
    gzipSync(
      Buffer.concat([...['a', 'b', 'c', 'd'].map((name) => pack(`package/${name}`, '')), end]),
    ),
  );
  assert.match((await unpack({ DOSIMETER_FETCH_FILES: '3' })).hint, 'raise DOSIMETER_FETCH_FILES');
  writeFileSync(archive, gzipSync(Buffer.alloc(64_000_000)));
  assert.match((await unpack({ DOSIMETER_UNPACK_GB: '0.01' })).message, 'unpacks to more than');
  assert.equal(
    hostile.beside().filter((name) => !/^a\/t\d/.test(name)),
    [],
  );
});

test.run();

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../../src/api.ts';
import { encodeNpy, readNpy, writeNpy } from '../../../../src/science/models/io/npy.ts';

// The bytes that numpy.save(f, numpy.array([[1.5, -2, 3]], dtype='<f4')) writes.
const NUMPY = Buffer.from(
  '934e554d5059010076007b276465736372273a20273c6634272c2027666f727472616e5f6f72646572273a2046616c73652c20277368617065273a2028312c2033292c207d' +
    '20'.repeat(118 - 59 - 1) +
    '0a' +
    '0000c03f000000c000004040',
  'hex',
);

test('an array is written as numpy.save writes it', () => {
  assert.equal(
    encodeNpy({ shape: [1, 3], data: Float32Array.of(1.5, -2, 3) }).toString('hex'),
    NUMPY.toString('hex'),
  );
});

const dir = await mkdtemp(join(tmpdir(), 'dosimeter-npy-')),
  path = join(dir, 'k.npy');
test.after(() => rm(dir, { recursive: true }));
const read = async (bytes: Uint8Array) => {
  await writeFile(path, bytes);
  return readNpy(path);
};

test('an array comes back with its shape, dtype and values', async () => {
  for (const array of [
    { shape: [2, 3, 1, 1], data: Float64Array.of(1, 2, 3, 4, 5, 1e-300) },
    { shape: [3], data: Float32Array.of(1, -0, Infinity) },
    { shape: [], data: Float64Array.of(7) },
    { shape: [0, 5], data: new Float32Array(0) },
    { shape: [2], data: Int32Array.of(-1, 2147483647) },
  ]) {
    await writeNpy(path, array);
    assert.equal(await readNpy(path), array);
  }
  assert.equal(await read(NUMPY), { shape: [1, 3], data: Float32Array.of(1.5, -2, 3) });
});

test('a file that is not such an array is refused by name', async () => {
  const fault = async (bytes: Uint8Array, what: RegExp): Promise<void> => {
    const e: unknown = await read(bytes).catch((error: unknown) => error);
    assert.instance(e, UserFault);
    assert.match((e as UserFault).message, what);
    assert.ok((e as UserFault).message.startsWith(`${path} `));
  };
  await fault(Buffer.from('PK\x03\x04 something else'), /start/);
  await fault(NUMPY.subarray(0, 60), /cut short/);
  await fault(NUMPY.subarray(0, NUMPY.length - 4), /needs 12 bytes of data, but it has 8/);
  await fault(Buffer.from(NUMPY.toString('latin1').replace('False', 'True '), 'latin1'), /Fortran/);
  await fault(Buffer.from(NUMPY.toString('latin1').replace('<f4', '>f4'), 'latin1'), />f4/);
});

test.run();

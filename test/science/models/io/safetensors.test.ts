import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../../src/api.ts';
import { named } from '../../../../src/base/lookup.ts';
import {
  readSafetensors,
  widenBfloat16,
  widenFloat16,
  writeSafetensors,
} from '../../../../src/science/models/io/safetensors.ts';
import type { HostTensor } from '../../../../src/science/models/types.ts';
import { present } from '../../../rig/present.ts';

const test = suite<{ dir: string }>('safetensors');
test.before(async (context) => {
  context.dir = await mkdtemp(join(tmpdir(), 'safetensors-'));
});

const fails = async (path: string, what: RegExp): Promise<void> => {
  try {
    await readSafetensors(path);
  } catch (error) {
    assert.instance(error, UserFault);
    assert.match((error as UserFault).message, path);
    assert.match((error as UserFault).message, what);
    return;
  }
  assert.unreachable(`${path} was read`);
};

/** Writes a file with this header and data. */
const file = (header: unknown, data: Uint8Array): Buffer => {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
};

test('float16 and bfloat16 widen exactly', () => {
  // numpy.array([1, -2, 65504, 2**-24, 2**-14, 0, -0, inf, nan], float16).view(uint16)
  const half = [
    ...widenFloat16(
      Uint16Array.of(
        0x3c00,
        0xc000,
        0x7bff,
        0x0001,
        0x0400,
        0x0000,
        0x8000,
        0x7c00,
        0x7e00,
        0x3555,
      ),
    ),
  ];
  assert.equal(half, [1, -2, 65504, 2 ** -24, 2 ** -14, 0, -0, Infinity, NaN, 0.333251953125]);
  assert.equal(
    [...widenBfloat16(Uint16Array.of(0x3f80, 0xc040, 0x0001, 0xff80))],
    [1, -3, 2 ** -133, -Infinity],
  );
});

test('every dtype is read', async ({ dir }) => {
  const path = join(dir, 'dtypes.safetensors');
  const data = Buffer.concat([
    Buffer.from(Float64Array.of(0.5, -1).buffer),
    Buffer.from(BigInt64Array.of(-7n, 9n).buffer),
    Buffer.from(Uint16Array.of(0x3c00, 0x4000).buffer),
    Buffer.from(Uint16Array.of(0x3f80).buffer),
    Buffer.from(Uint8Array.of(1, 0)),
    Buffer.from(Float32Array.of(3).buffer),
    Buffer.from(Int8Array.of(-1)),
  ]);
  await writeFile(
    path,
    file(
      {
        a: { dtype: 'F64', shape: [2, 1], data_offsets: [0, 16] },
        b: { dtype: 'I64', shape: [2], data_offsets: [16, 32] },
        c: { dtype: 'F16', shape: [2], data_offsets: [32, 36] },
        d: { dtype: 'BF16', shape: [], data_offsets: [36, 38] },
        e: { dtype: 'BOOL', shape: [2], data_offsets: [38, 40] },
        f: { dtype: 'F32', shape: [1], data_offsets: [40, 44] },
        g: { dtype: 'I8', shape: [1], data_offsets: [44, 45] },
        __metadata__: { format: 'pt' },
      },
      data,
    ),
  );
  const read = await readSafetensors(path);
  assert.equal(
    Object.fromEntries(
      [...read].map(([name, { shape, data: values }]) => [name, [shape, [...values]]]),
    ),
    {
      a: [
        [2, 1],
        [0.5, -1],
      ],
      b: [[2], [-7, 9]],
      c: [[2], [1, 2]],
      d: [[], [1]],
      e: [[2], [1, 0]],
      f: [[1], [3]],
      g: [[1], [-1]],
    },
  );
  assert.instance(named(read, 'a').data, Float32Array);
});

test('a written file is read back, and its bytes depend only on the content', async ({ dir }) => {
  const a = { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
    b = { shape: [2], data: Int32Array.of(-1, 5) };
  await writeSafetensors(
    join(dir, 'x'),
    new Map<string, HostTensor>([
      ['b', b],
      ['a', a],
    ]),
  );
  await writeSafetensors(
    join(dir, 'y'),
    new Map<string, HostTensor>([
      ['a', a],
      ['b', b],
    ]),
  );
  assert.equal(await readFile(join(dir, 'x')), await readFile(join(dir, 'y')));
  assert.equal(Object.fromEntries(await readSafetensors(join(dir, 'x'))), { a, b });
  assert.equal([...(await readSafetensors(join(dir, 'x'), ['b'])).keys()], ['b']);
});

test('floats are read by name, each into memory that TensorFlow can share', async ({ dir }) => {
  const path = join(dir, 'floats');
  const tensors = new Map(
    [3, 0, 16, 1, 40].map((size, k): [string, HostTensor] => [
      `t${k}`,
      { shape: [size], data: Float32Array.from({ length: size }, (_, i) => 100 * k + i) },
    ]),
  );
  await writeSafetensors(path, tensors);
  const names = ['t4', 't0', 't1', 't3', 't2'],
    read = await readSafetensors(path, names);
  assert.equal([...read.keys()], names);
  for (const [name, { shape, data }] of read)
    assert.equal(
      [shape, [...data]],
      [named(tensors, name).shape, [...present(tensors.get(name)).data]],
    );
  assert.is(new Set([...read.values()].map(({ data }) => data.buffer)).size, names.length);
  assert.ok([...read.values()].every(({ data }) => data.byteOffset % 64 === 48));
});

test('truncated files and other formats are refused with file and tensor', async ({ dir }) => {
  const path = join(dir, 'bad.safetensors');
  const good = file(
    { 'a.weight': { dtype: 'F32', shape: [3], data_offsets: [0, 12] } },
    new Uint8Array(12),
  );
  const put = (bytes: Uint8Array): Promise<void> => writeFile(path, bytes);
  await put(good.subarray(0, good.length - 5));
  await fails(
    path,
    /tensor "a\.weight" ends at byte 12 of the data, but the file holds 7: it is truncated/,
  );
  await put(good.subarray(0, 20));
  await fails(path, /another format or truncated/);
  await put(Buffer.from('hi'));
  await fails(path, /only 2 bytes/);
  await put(
    Buffer.from('PK\x03\x04 this is a zip archive, so its first eight bytes make a huge number'),
  );
  await fails(path, /is not a safetensors file/);
  await put(file('{not json', new Uint8Array(4)));
  await fails(path, /is not JSON/);
  await put(
    file({ 'a.weight': { dtype: 'F32', shape: [4], data_offsets: [0, 12] } }, new Uint8Array(12)),
  );
  await fails(
    path,
    /tensor "a\.weight" of shape \[4\] and dtype F32 takes 16 bytes, but the header gives it 12/,
  );
  await put(file({ q: { dtype: 'F8_E4M3', shape: [4], data_offsets: [0, 4] } }, new Uint8Array(4)));
  await fails(path, /tensor "q" has dtype F8_E4M3/);
  await fails(join(dir, 'absent'), /can't be opened/);
});

// The reader of the format does the same (safetensors, tensor.rs: InvalidOffset,
// MetadataIncompleteBuffer).
test('tensors that overlap or leave gaps in the data are refused by name', async ({ dir }) => {
  const path = join(dir, 'layout.safetensors');
  const f32 = (start: number, end: number): object => ({
    dtype: 'F32',
    shape: [(end - start) / 4],
    data_offsets: [start, end],
  });
  const put = (header: unknown, bytes: number): Promise<void> =>
    writeFile(path, file(header, new Uint8Array(bytes)));
  await put({ a: f32(0, 8), b: f32(4, 12) }, 12);
  await fails(
    path,
    /tensor "b" begins at byte 4 of the data, before tensor "a" ends \(byte 8\): they overlap/,
  );
  await put({ a: f32(0, 8), b: f32(0, 8) }, 8);
  await fails(path, /tensor "b" begins at byte 0 .*overlap/);
  await put({ a: f32(0, 4), b: f32(8, 12) }, 12);
  await fails(
    path,
    /tensor "b" begins at byte 8 of the data, and bytes 4 to 8 belong to no tensor/,
  );
  await put({ a: f32(4, 8) }, 8);
  await fails(path, /tensor "a" begins at byte 4/);
  await put({ a: f32(0, 8) }, 12);
  await fails(path, /holds 12 bytes of data, but its tensors take 8/);
  await put({ a: { dtype: 'F32', shape: [1], data_offsets: [8, 4] }, b: f32(0, 8) }, 8);
  await fails(path, /tensor "a" begins at byte 8 of the data and ends at byte 4/);
  // A name that occurs twice counts once, so that its first bytes belong to no tensor.
  const twice = '{"dtype":"F32","shape":[1],"data_offsets":';
  await put(`{"a":${twice}[0,4]},"a":${twice}[4,8]}}`, 8);
  await fails(path, /tensor "a" begins at byte 4/);
  // The order of names does not matter, and neither do empty tensors.
  await put({ b: f32(0, 8), empty: f32(8, 8), a: f32(8, 12) }, 12);
  assert.equal([...(await readSafetensors(path)).keys()], ['b', 'empty', 'a']);
});

test('a 64-bit integer that does not fit int32 is refused', async ({ dir }) => {
  const path = join(dir, 'wide.safetensors');
  await writeFile(
    path,
    file(
      { ids: { dtype: 'I64', shape: [2], data_offsets: [0, 16] } },
      new Uint8Array(BigInt64Array.of(1n, 2n ** 31n).buffer),
    ),
  );
  await fails(path, /tensor "ids" holds 2147483648, which is beyond 32 bits/);
});

test.run();

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../../src/api.ts';
import { decodeNpy, encodeNpy } from '../../../../src/science/models/io/npy.ts';

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

test('an array comes back with its shape, dtype and values', () => {
  for (const array of [
    { shape: [2, 3, 1, 1], data: Float64Array.of(1, 2, 3, 4, 5, 1e-300) },
    { shape: [3], data: Float32Array.of(1, -0, Infinity) },
    { shape: [], data: Float64Array.of(7) },
    { shape: [0, 5], data: new Float32Array(0) },
    { shape: [2], data: Int32Array.of(-1, 2147483647) },
  ])
    assert.equal(decodeNpy(encodeNpy(array), 'x.npy'), array);
  assert.equal(decodeNpy(NUMPY, 'x.npy'), { shape: [1, 3], data: Float32Array.of(1.5, -2, 3) });
});

test('a file that is not such an array is refused by name', () => {
  const fault = (bytes: Uint8Array, what: RegExp): void =>
    assert.throws(
      () => decodeNpy(bytes, 'k.npy'),
      (e: unknown) =>
        e instanceof UserFault && e.message.startsWith('k.npy ') && what.test(e.message),
    );
  fault(Buffer.from('PK\x03\x04 something else'), /start/);
  fault(NUMPY.subarray(0, 60), /cut short/);
  fault(NUMPY.subarray(0, NUMPY.length - 4), /needs 12 bytes of data, but it has 8/);
  fault(Buffer.from(NUMPY.toString('latin1').replace('False', 'True '), 'latin1'), /Fortran/);
  fault(Buffer.from(NUMPY.toString('latin1').replace('<f4', '>f4'), 'latin1'), />f4/);
});

test.run();

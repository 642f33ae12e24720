/** Matrix products of a region in bfloat16. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../src/base/random.ts';
import { processorFault } from '../../src/tensor/backend.ts';
import {
  compiled,
  compiledStatistics,
  inFloat32,
  prepareCompiling,
} from '../../src/tensor/compiled/compiled.ts';
import { hasFusedBf16, withoutFused } from '../../src/tensor/fused.ts';
import { matmul, rowSums } from '../../src/tensor/products.ts';
import { backends, useBackend } from '../science/backend.ts';

const stream = randomStream(1, 'products');
const normals = (...shape: number[]): tf.Tensor =>
  tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => stream.normal()),
    shape,
  );

/** Numbers rounded to bfloat16: to 16 bits, the nearest, in a tie the even one. */
function rounded(x: tf.Tensor): tf.Tensor {
  const bits = new Uint32Array((x.dataSync() as Float32Array).slice().buffer);
  const kept = bits.map((word) => (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000);
  return tf.tensor(new Float32Array(kept.buffer), x.shape);
}

if (backends.includes('tensorflow')) {
  const same = (found: tf.Tensor, expected: tf.Tensor): void => {
    assert.equal(found.shape, expected.shape);
    assert.equal([...found.dataSync()], [...expected.dataSync()]);
  };

  for (const sightings of [Infinity, 0]) {
    const how = sightings === 0 ? 'compiled' : 'one by one';
    // Products of small integers and their sums are exact in float32.
    const whole = (...shape: number[]): tf.Tensor => tf.round(tf.mul(normals(...shape), 500));

    test(`TensorFlow rounds factors and results, not sums: ${how}`, async () => {
      await useBackend('tensorflow');
      prepareCompiling(sightings);
      const [a, b, x, y] = [whole(7, 5), whole(5, 3), whole(2, 4, 6), whole(2, 5, 6)];
      const of = (): tf.Tensor[] => [
        matmul(a, b),
        matmul(a, a, true),
        tf.matMul(x, y, false, true),
      ];
      const expected = [
        rounded(tf.matMul(rounded(a), rounded(b))),
        rounded(tf.matMul(rounded(a), rounded(a), true)),
        rounded(tf.matMul(rounded(x), rounded(y), false, true)),
      ];
      const composed = withoutFused(() => compiled(of, 'bf16'));
      for (const [i, found] of composed.entries()) same(found, expected[i]!);
      assert.not.equal([...of()[0]!.dataSync()], [...expected[0]!.dataSync()]);
    });

    test(`fused products round factors, not sums or results: ${how}`, async () => {
      await useBackend('tensorflow');
      prepareCompiling(sightings);
      const [a, b] = [whole(7, 5), whole(5, 3)];
      const casts = compiledStatistics()?.casts;
      const of = (): tf.Tensor[] => [matmul(a, b), matmul(a, a, true)];
      // Without the operations, or where tiles (AMX) are faster, products are TensorFlow's.
      const result = hasFusedBf16() ? (x: tf.Tensor): tf.Tensor => x : rounded;
      const expected = [
        result(tf.matMul(rounded(a), rounded(b))),
        result(tf.matMul(rounded(a), rounded(a), true)),
      ];
      for (const [i, found] of compiled(of, 'bf16').entries()) same(found, expected[i]!);
      const [first] = expected;
      assert.not.equal([...of()[0]!.dataSync()], [...first!.dataSync()], 'float32');
      if (!hasFusedBf16()) return;
      assert.not.equal([...rounded(first!).dataSync()], [...first!.dataSync()]);
      assert.is(compiledStatistics()?.casts, casts);
    });

    test(`all but products are float32, and so are sums of rows: ${how}`, async () => {
      await useBackend('tensorflow');
      prepareCompiling(sightings);
      const [a, b] = [normals(4, 6) as tf.Tensor2D, normals(6, 3) as tf.Tensor2D];
      const exact = (): tf.Tensor[] => [
        tf.softmax(tf.mul(a, 1.001)),
        tf.sum(tf.square(b)),
        rowSums(a, b),
        inFloat32(() => matmul(a, b)),
      ];
      const expected = exact();
      for (const [i, found] of compiled(exact, 'bf16').entries()) same(found, expected[i]!);
    });
  }

  test('the same operations in a region of the other precision are another program', async () => {
    await useBackend('tensorflow');
    const [a, b] = [tf.tanh(normals(4, 6)), tf.tanh(normals(6, 3))];
    // A product in float32 that reads one in bfloat16, and the other way round.
    const mixed = (): tf.Tensor[] => {
      const c = matmul(a, b);
      const d = inFloat32(() => matmul(c, c, true));
      return [c, d, matmul(d, d)];
    };
    prepareCompiling(Infinity);
    const float32 = mixed(),
      bf16 = compiled(mixed, 'bf16');
    float32.forEach((x, k) => assert.not.equal([...x.dataSync()], [...bf16[k]!.dataSync()]));
    prepareCompiling(0);
    for (let i = 0; i < 3; i++) {
      for (const [k, found] of compiled(mixed).entries()) same(found, float32[k]!);
      for (const [k, found] of compiled(mixed, 'bf16').entries()) same(found, bf16[k]!);
    }
  });

  test('a factor stays cast until it is disposed of', async () => {
    await useBackend('tensorflow');
    prepareCompiling(0);
    const casts = (): number => compiledStatistics()?.casts ?? NaN,
      before = casts();
    const frozen = tf.tanh(normals(6, 3));
    for (let step = 1; step <= 3; step++) {
      tf.tidy(() => {
        const x = tf.tanh(normals(4, 6));
        withoutFused(() => compiled(() => [matmul(x, frozen), matmul(x, x, true)], 'bf16'));
        assert.is(casts(), before + 2);
      });
      assert.is(casts(), before + 1, `after step ${step}`);
    }
    // One that is disposed of in the region is still read where the region ends.
    const product = withoutFused(() =>
      compiled(() => {
        const last = tf.tidy(() => tf.neg(matmul(normals(4, 6), frozen)));
        frozen.dispose();
        return last;
      }, 'bf16'),
    );
    assert.ok(product.dataSync().every(Number.isFinite));
    assert.is(casts(), before);
    product.dispose();
  });

  test('the same bits compiled and one by one, with what is read in the middle', async () => {
    await useBackend('tensorflow');
    const [a, b] = [normals(32, 48), normals(48, 40)];
    const run = (): number[] =>
      tf.tidy(() =>
        compiled(() => {
          const first = tf.tanh(matmul(a, b)); // (32, 40)
          const by = tf.max(first).dataSync()[0]!;
          return [...tf.softmax(matmul(tf.mul(first, by), first, false, true)).dataSync()];
        }, 'bf16'),
      );
    prepareCompiling(Infinity);
    const expected = run();
    prepareCompiling(0);
    for (let i = 0; i < 3; i++) assert.equal(run(), expected);
    assert.equal(compiledStatistics()?.refused, []);
  });
}

test('without TensorFlow a region in bfloat16 is refused', async () => {
  const name = backends.find((backend) => backend !== 'tensorflow');
  if (name === undefined) return;
  await useBackend(name);
  assert.throws(() => compiled(() => 1, 'bf16'), /need the TensorFlow backend/);
});

test('a processor needs instructions for bfloat16', () => {
  const cpuinfo = (flags: string): string =>
    `processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu ${flags} sse4_2\n\nprocessor\t: 1\n`;
  assert.is(processorFault(cpuinfo('avx512f avx512_bf16')), null);
  assert.is(processorFault(cpuinfo('amx_bf16 amx_tile')), null);
  const fault = processorFault(cpuinfo('avx2 avx512f'));
  assert.match(fault?.message ?? '', /avx512_bf16 or amx_bf16\), and this one has none: Some CPU$/);
  assert.is(fault?.ofMachine, true);
  assert.match(processorFault('')?.message ?? '', /has none$/);
});

test.after(() => {
  if (backends.includes('tensorflow')) prepareCompiling();
});

test.run();

/**
 * Fused products in bfloat16: those of factors that are rounded to bfloat16, summed in float32.
 * Numbers below 2⁻¹²⁶ count as zero, as everywhere in TensorFlow.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../src/base/random.ts';
import { compiled, prepareCompiling } from '../../src/tensor/compiled/compiled.ts';
import { hasFusedBf16 } from '../../src/tensor/fused.ts';
import { callOperation } from '../../src/tensor/operation.ts';
import {
  fusedLinear,
  fusedLora,
  fusedLoraGradient,
  fusedProduct,
  matmul,
} from '../../src/tensor/products.ts';
import { backends, useBackend } from '../science/backend.ts';
import {
  assertWithin,
  bitsOf,
  type Exact,
  exact,
  normals,
  plus,
  scaled,
  times,
  transposed,
} from './exact.ts';
import { bestInstructions, withInstructions } from './instructions.ts';
import { assertPackedBits } from './packed-layers.ts';

const stream = randomStream(11, 'fused-bf16');
const matrix = (rows: number, columns: number): Tensor2D =>
  normals(stream, rows, columns) as Tensor2D;

/** The nearest bfloat16, in a tie the one whose last bit is 0; NaN and infinities as they are. */
function rounded(value: number): number {
  if (!Number.isFinite(value)) return value;
  const word = new Uint32Array(Float32Array.of(value).buffer);
  word[0] = ((word[0] ?? 0) + 0x7fff + (((word[0] ?? 0) >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(word.buffer)[0] ?? NaN;
}

/** A matrix as a product in bfloat16 reads it. */
function read(tensor: Tensor): Exact {
  const found = exact(tensor);
  return { ...found, values: found.values.map(rounded), sizes: found.sizes.map(rounded) };
}

const inBf16 = <T>(run: () => T): T => compiled(run, 'bf16');

/** Whether the fused operations compute products in bfloat16 here. */
async function areOffered(): Promise<boolean> {
  await useBackend('tensorflow');
  prepareCompiling(Infinity);
  return hasFusedBf16();
}

if (backends.includes('tensorflow')) {
  test('products are those of rounded factors, summed in float32', async () => {
    if (!(await areOffered())) return;
    for (const [rows, depth, width] of [1, 13, 14, 15, 29, 257].flatMap((m) =>
      [1, 2, 3, 15, 33, 385, 512].flatMap((n) => [1, 16, 17, 33].map((w) => [m, n, w] as const)),
    ))
      tf.tidy(() => {
        const [a, b] = [matrix(rows, depth), matrix(depth, width)],
          expected = times(read(a), read(b)),
          lefts = [a, tf.transpose(a)],
          rights = [b, tf.transpose(b)];
        for (const [i, left] of lefts.entries())
          for (const [j, right] of rights.entries())
            assertWithin(
              inBf16(() => fusedProduct(left, right, i === 1, j === 1)),
              expected,
              // Products of bfloat16 are exact in float32; after an odd number, 0 is added.
              depth + 1,
              `${rows} × ${depth} × ${width}, transposed: ${i}, ${j}`,
            );
      });
  });

  test('factors are rounded to the nearest, ties to even, and stay what is not finite', async () => {
    if (!(await areOffered())) return;
    const ulp = 2 ** -7;
    const values = [1, 1 + ulp / 2, 1 + 1.5 * ulp, 1 + ulp / 2 + 2 ** -23, 1 + ulp / 2 - 2 ** -23];
    const found = (of: readonly number[]): number[] => {
      const column = tf.tensor2d([...of], [of.length, 1]);
      return [...inBf16(() => fusedProduct(column, tf.ones([1, 1]), false, false)).dataSync()];
    };
    assert.equal(found(values), [1, 1, 1 + 2 * ulp, 1 + ulp, 1]);
    assert.equal(
      found(values.map((value) => -value)),
      [1, 1, 1 + 2 * ulp, 1 + ulp, 1].map((value) => -value),
    );
    // The largest float32 is nearer to 2¹²⁸ than to the largest bfloat16.
    assert.equal(found([Infinity, -Infinity, NaN, (2 - 2 ** -23) * 2 ** 127]), [
      Infinity,
      -Infinity,
      NaN,
      Infinity,
    ]);
  });

  test('linear and LoRA layers, with their derivatives, round each factor once', async () => {
    if (!(await areOffered())) return;
    for (const [S, n, m, rank] of [
      [1, 7, 5, 1],
      [15, 33, 100, 3],
      [29, 64, 31, 8],
      [130, 512, 17, 20],
    ] as const)
      tf.tidy(() => {
        const [dy, x, W, A, B] = [
          matrix(S, m),
          matrix(S, n),
          matrix(m, n),
          matrix(rank, n),
          matrix(m, rank),
        ];
        const b = normals(stream, m) as Tensor1D,
          scale = 1.5,
          size = `${S} × ${n} × ${m}, rank ${rank}`;
        const base = times(read(x), transposed(read(W)));
        const plain = inBf16(() => fusedLinear(x, W, b));
        assertWithin(plain, plus(base, exact(b)), n + 2, `linear, ${size}`);
        const [y, down] = inBf16(() => fusedLora([x, W, A, B], b, scale));
        const ofDown = scaled(times(read(x), transposed(read(A))), scale);
        assertWithin(down, ofDown, n + 2, `down, ${size}`);
        // The low-rank factor is rounded as it was found: its own errors are tested above.
        const sum = plus(plus(base, times(read(down), transposed(read(B)))), exact(b));
        assertWithin(y, sum, n + rank + 3, `y, ${size}`);
        const [, dA, dB] = inBf16(() =>
          fusedLoraGradient(dy, [x, W, A, B, down], scale, { x: true, A: true, B: true }),
        );
        if (dA === null || dB === null) throw new Error('a derivative is missing');
        assertWithin(dB, times(transposed(read(dy)), read(down)), S + 1, `dB, ${size}`);
        // u = s·dy B is not an output. As a product of its own it has the same bits.
        const u = tf.mul<Tensor2D>(
          inBf16(() => fusedProduct(dy, B, false, false)),
          scale,
        );
        assertWithin(dA, times(transposed(read(u)), read(x)), S + 1, `dA, ${size}`);
        const [dx] = inBf16(() =>
          fusedLoraGradient(dy, [x, W, A, B, down], scale, { x: true, A: false, B: false }),
        );
        if (dx === null) throw new Error('a derivative is missing');
        const ofX = plus(times(read(dy), read(W)), times(read(u), read(A)));
        assertWithin(dx, ofX, m + rank + 3, `dx, ${size}`);
      });
  });

  test('a frozen weight gives the same bits, from a copy that is kept', async () => {
    if (await areOffered()) assertPackedBits(stream, 'bf16');
  });

  test('a row of a result has the same bits among other rows', async () => {
    if (!(await areOffered())) return;
    tf.tidy(() => {
      for (const [depth, width] of [
        [33, 100],
        [512, 31],
        [385, 4],
      ] as const) {
        const [x, W] = [matrix(257, depth), matrix(width, depth)];
        const layer = (rows: Tensor2D): Uint32Array =>
          bitsOf(inBf16(() => fusedProduct(rows, W, false, true)));
        const all = layer(x);
        for (const [from, count] of [
          [0, 1],
          [100, 13],
          [242, 15],
          [1, 256],
        ] as const)
          assert.equal(
            layer(x.slice([from, 0], [count, depth])),
            all.slice(from * width, (from + count) * width),
            `${depth} × ${width}, ${count} rows from ${from}`,
          );
      }
    });
  });

  test('without the instructions the operations refuse, and products are cast', async () => {
    await useBackend('tensorflow');
    prepareCompiling(Infinity);
    const [a, b] = [matrix(3, 5), matrix(5, 2)];
    // TensorFlow keeps an operation that it has made, so each attempt has a scale of its own.
    const refused = (scale: number): void =>
      assert.throws(
        () =>
          callOperation(
            'FusedLora',
            [a, matrix(2, 5), matrix(1, 5), matrix(2, 1)],
            {
              scale: { type: 'float', value: scale },
              bf16: { type: 'bool', value: true },
              frozen: { type: 'bool', value: false },
              packed: { type: 'bool', value: false },
            },
            2,
          ),
        /this processor has no instruction for products of bfloat16/,
      );
    for (const [i, set] of (['baseline', 'avx2', 'avx512'] as const).entries())
      await withInstructions(set, () => {
        refused(77 + i);
      });
    const best = bestInstructions();
    if (best === null || best === 'avx512_bf16') return;
    assert.not(hasFusedBf16());
    const cast = inBf16(() => matmul(a, b));
    // TensorFlow rounds the result to the nearest of 8 significant bits.
    const expected = times(read(a), read(b));
    const values = cast.dataSync();
    expected.values.forEach((value, i) => {
      assert.ok(Math.abs((values[i] ?? NaN) - value) <= 2 ** -7 * Math.abs(value) + 2 ** -20);
    });
  });
}

test.after(() => {
  if (backends.includes('tensorflow')) prepareCompiling();
});

test.run();

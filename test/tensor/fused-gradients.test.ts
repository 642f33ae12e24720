/**
 * Gradients of rows, their Gram matrix and packed weights against loops in double precision, with
 * every instruction set of the processor.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../src/base/random.ts';
import { hasFused } from '../../src/tensor/fused.ts';
import { fusedGram, fusedRowGradients } from '../../src/tensor/products.ts';
import { backends, useBackend } from '../science/backend.ts';
import { assertWithin, type Exact, exact, normals, times, transposed } from './exact.ts';
import { FLOAT32_SETS, withInstructions } from './instructions.ts';
import { assertPackedBits } from './packed-layers.ts';

const stream = randomStream(17, 'fused-gradients');
const matrix = (rows: number, columns: number): Tensor2D =>
  normals(stream, rows, columns) as Tensor2D;

const ints = (values: readonly number[]): Tensor1D => tf.tensor1d([...values], 'int32');

/** The rows of a matrix that are listed. */
function picked({ columns, values }: Exact, rows: readonly number[]): Exact {
  const entries = Float64Array.from(
    rows.flatMap((row) => [...values.subarray(row * columns, (row + 1) * columns)]),
  );
  return { rows: rows.length, columns, values: entries, sizes: entries.map(Math.abs) };
}

interface Rows {
  readonly what: string;
  /** The tokens of each row. */
  readonly tokens: readonly (readonly number[])[];
}

const ROWS: readonly Rows[] = [
  { what: 'one token', tokens: [[0]] },
  { what: 'adjacent tokens', tokens: [[0, 1, 2], [3], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]] },
  { what: 'tokens in any order', tokens: [[5, 0], [1, 4, 2], [3]] },
  { what: 'a row without tokens', tokens: [[1, 0], [], [2, 3]] },
  { what: 'a long row', tokens: [Array.from({ length: 400 }, (_, t) => t)] },
];

if (backends.includes('tensorflow')) {
  for (const set of FLOAT32_SETS) {
    test(`${set}: the gradients of rows are Σ a_t b_tᵀ over their tokens`, async () => {
      await withInstructions(set, () => {
        for (const { what, tokens } of ROWS)
          for (const [p, q] of [
            [1, 1],
            [8, 33],
            [33, 8],
            [15, 100],
            [70, 3],
          ] as const)
            tf.tidy(() => {
              const S = tokens.flat().length;
              const [a, b] = [matrix(S, p), matrix(S, q)];
              const starts = tokens.reduce(
                (sums, own) => [...sums, (sums.at(-1) ?? 0) + own.length],
                [0],
              );
              const found = fusedRowGradients(a, b, {
                order: ints(tokens.flat()),
                starts: ints(starts),
              });
              assert.equal(found.shape, [tokens.length, p * q]);
              const [x, y] = [exact(a), exact(b)];
              tokens.forEach((own, row) => {
                const expected = times(transposed(picked(x, own)), picked(y, own));
                const values = found.slice([row, 0], [1, -1]);
                assertWithin(values, expected, own.length + 1, `${what}, ${p} × ${q}, row ${row}`);
              });
            });
      });
    });

    test(`${set}: a Gram matrix has the lower triangle, and zeros above it`, async () => {
      await withInstructions(set, () => {
        for (const [heights, n] of [
          [[1], 1],
          [[2, 3], 15],
          [[13, 1, 20], 33],
          [[40, 7], 385],
          [[15, 15], 4096],
          [[200, 90, 45], 24],
        ] as const)
          tf.tidy(() => {
            const parts = heights.map((height) => matrix(height, n)),
              whole = exact(tf.concat(parts, 0)),
              expected = times(whole, transposed(whole));
            const N = whole.rows;
            for (let i = 0; i < N; i++)
              for (let j = i + 1; j < N; j++) {
                expected.values[i * N + j] = 0;
                expected.sizes[i * N + j] = 0;
              }
            const found = fusedGram(parts);
            assert.equal(found.shape, [N, N]);
            assertWithin(found, expected, n + 1, `${heights.join(' + ')} rows of ${n}`);
          });
      });
    });
  }

  test('what does not fit together is refused', async () => {
    await useBackend('tensorflow');
    if (!hasFused()) return;
    const [a, b] = [matrix(3, 2), matrix(3, 4)];
    for (const [order, starts] of [
      [
        [0, 1, 2],
        [0, 2],
      ],
      [
        [0, 1, 3],
        [0, 3],
      ],
      [
        [0, 1, 2],
        [0, 2, 1, 3],
      ],
      [
        [0, 1],
        [0, 2],
      ],
    ] as const)
      assert.throws(
        () => fusedRowGradients(a, b, { order: ints(order), starts: ints(starts) }),
        /FusedRowGradients: its inputs do not fit together/,
      );
    assert.throws(() => fusedGram([a, b]), /FusedGram: its inputs differ in width/);
  });

  for (const set of FLOAT32_SETS)
    test(`${set}: a compiled function reads copies of frozen weights, with the same bits`, () =>
      withInstructions(set, () => {
        assertPackedBits(stream, 'float32');
      }));
}

test.run();

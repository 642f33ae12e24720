/**
 * Fused products and linear layers against plain loops in double precision, on sizes around those
 * of blocks, tiles and vectors, with every instruction set of the processor.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../src/base/lookup.ts';
import { randomStream } from '../../src/base/random.ts';
import {
  fusedLinear,
  fusedLora,
  fusedLoraGradient,
  fusedProduct,
} from '../../src/tensor/products.ts';
import { backends } from '../science/backend.ts';
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
import { FLOAT32_SETS, withInstructions } from './instructions.ts';

const ROWS = [1, 13, 14, 15, 29, 257],
  WIDTHS = [1, 2, 8, 16, 17, 31, 32, 33, 100],
  DEPTHS = [1, 2, 3, 15, 16, 33, 385, 800],
  RANKS = [1, 3, 8, 16, 20];
/** Rows in memory whose length is a multiple of 512 or 1,024, in every factor and transposition. */
const LONG = [
  [15, 512, 33],
  [29, 1024, 17],
  [257, 1536, 16],
  [512, 33, 31],
  [1024, 16, 2],
  [13, 15, 512],
  [30, 29, 1024],
  [512, 512, 5],
] as const;

const stream = randomStream(7, 'fused-products');
const draw = (...shape: number[]): Tensor => normals(stream, ...shape);
const matrix = (rows: number, columns: number): Tensor2D => draw(rows, columns) as Tensor2D;

const BOTH = [false, true];

/** A matrix and its transpose, as tensors. */
function laid({ rows, columns, values }: Exact, transposes: boolean): Tensor2D {
  return transposes
    ? tf.tensor2d(Float32Array.from(transposed(exactOf(values, rows, columns)).values), [
        columns,
        rows,
      ])
    : tf.tensor2d(Float32Array.from(values), [rows, columns]);
}

const exactOf = (values: Float64Array, rows: number, columns: number): Exact => ({
  rows,
  columns,
  values,
  sizes: values.map(Math.abs),
});

interface Case {
  readonly size: string;
  readonly depth: number;
  /** As they are, and transposed. */
  readonly a: readonly Tensor2D[];
  readonly b: readonly Tensor2D[];
  readonly expected: Exact;
}

/** Made once for all instruction sets. */
let made: Case[] | null = null;

function cases(): Case[] {
  if (made !== null) return made;
  const sizes = ROWS.flatMap((rows) =>
    WIDTHS.flatMap((width) => DEPTHS.map((depth) => [rows, depth, width] as const)),
  );
  made = [...sizes, ...LONG].map(([rows, depth, width]) => {
    const a = exact(matrix(rows, depth)),
      b = exact(matrix(depth, width));
    return {
      size: `${rows} × ${depth} × ${width}`,
      depth,
      a: BOTH.map((transposes) => laid(a, transposes)),
      b: BOTH.map((transposes) => laid(b, transposes)),
      expected: times(a, b),
    };
  });
  return made;
}

/** The value of a LoRA layer and its derivatives, and how often a summand of each is rounded. */
function exactLora(
  [dy, x, W, A, B]: readonly [Exact, Exact, Exact, Exact, Exact],
  b: Exact | null,
  scale: number,
) {
  const down = scaled(times(x, transposed(A)), scale),
    u = scaled(times(dy, B), scale);
  const sum = plus(times(x, transposed(W)), times(down, transposed(B)));
  return {
    down,
    y: b === null ? sum : plus(sum, b),
    dx: plus(times(dy, W), times(u, A)),
    dA: times(transposed(u), x),
    dB: times(transposed(dy), down),
  };
}

function againstLoops(rank: number, [S, n, m]: readonly [number, number, number]): void {
  const size = `rank ${rank}, ${S} × ${n} × ${m}`,
    scale = 1.5;
  const [dy, x, W, A, B] = [
    matrix(S, m),
    matrix(S, n),
    matrix(m, n),
    matrix(rank, n),
    matrix(m, rank),
  ];
  const bias = draw(m) as Tensor1D;
  const inputs = [exact(dy), exact(x), exact(W), exact(A), exact(B)] as const;
  for (const b of [null, bias]) {
    const expected = exactLora(inputs, b === null ? null : exact(b), scale);
    const [y, down] = fusedLora([x, W, A, B], b, scale);
    // A summand of `down` is multiplied, added up to n times and scaled; in y it is added on.
    assertWithin(down, expected.down, n + 1, `down, ${size}`);
    assertWithin(y, expected.y, n + rank + 2, `y, ${size}, bias: ${b !== null}`);
  }
  const { dx, dA } = exactLora(inputs, null, scale);
  const factors = [x, W, A, B, fusedLora([x, W, A, B], null, scale)[1]] as const;
  const all = fusedLoraGradient(dy, factors, scale, { x: true, A: true, B: true });
  const of = (i: number): Tensor2D => {
    const found = all[i];
    if (found === undefined || found === null) throw new Error('a derivative is missing');
    return found;
  };
  assertWithin(of(0), dx, m + rank + 2, `dx, ${size}`);
  assertWithin(of(1), dA, m + S + 1, `dA, ${size}`);
  assertWithin(of(2), times(transposed(inputs[0]), exact(factors[4])), S, `dB, ${size}`);
  for (const ofX of BOTH)
    for (const ofA of BOTH)
      for (const ofB of BOTH) {
        const wanted = [ofX, ofA, ofB];
        const some = fusedLoraGradient(dy, factors, scale, { x: ofX, A: ofA, B: ofB });
        some.forEach((one, i) => {
          const what = `derivative ${i} of ${wanted.join()}, ${size}`;
          if (one === null) assert.not(at(wanted, i), what);
          else assert.equal([at(wanted, i), bitsOf(one)], [true, bitsOf(of(i))], what);
        });
      }
}

if (backends.includes('tensorflow')) {
  for (const set of FLOAT32_SETS) {
    test(`products are within float32's bounds, however they lie in memory (${set})`, () =>
      withInstructions(set, () => {
        for (const { size, depth, a, b, expected } of cases())
          for (const [i, left] of a.entries())
            for (const [j, right] of b.entries()) {
              const found = fusedProduct(left, right, i === 1, j === 1);
              assertWithin(found, expected, depth, `${size}, transposed: ${i}, ${j}`);
              found.dispose();
            }
      }));

    test(`linear layers are within float32's bounds (${set})`, () =>
      withInstructions(set, () => {
        tf.tidy(() => {
          for (const [S, n, m] of [[1, 1, 1], [14, 16, 33], [29, 385, 31], ...LONG] as const) {
            const [x, W, b] = [matrix(S, n), matrix(m, n), draw(m) as Tensor1D];
            const expected = plus(times(exact(x), transposed(exact(W))), exact(b));
            assertWithin(fusedLinear(x, W, b), expected, n + 1, `${S} × ${n} × ${m}`);
          }
        });
      }));

    test(`LoRA with and without a bias, and any of its derivatives (${set})`, () =>
      withInstructions(set, () => {
        tf.tidy(() => {
          for (const rank of RANKS)
            for (const extents of [
              [1, 7, 5],
              [15, 33, 100],
              [29, 64, 31],
              [257, 512, 17],
            ] as const)
              againstLoops(rank, extents);
        });
      }));

    test(`a row of a result has the same bits among other rows (${set})`, () =>
      withInstructions(set, () => {
        tf.tidy(() => {
          for (const [depth, width] of [
            [33, 100],
            [512, 31],
            [800, 16],
            [385, 33],
          ] as const) {
            const [x, W, A, B] = [
              matrix(257, depth),
              matrix(width, depth),
              matrix(3, depth),
              matrix(width, 3),
            ];
            const layers: Readonly<Record<string, (x: Tensor2D) => Tensor2D>> = {
              'a·b': (rows) => fusedProduct(rows, tf.transpose(W), false, false),
              'a·bᵀ': (rows) => fusedProduct(rows, W, false, true),
              'aᵀ·b': (rows) => fusedProduct(tf.transpose(rows), tf.transpose(W), true, false),
              LoRA: (rows) => fusedLora([rows, W, A, B], null, 1.5)[0],
            };
            for (const [name, layer] of Object.entries(layers)) {
              const all = bitsOf(layer(x));
              for (const [from, count] of [
                [0, 1],
                [256, 1],
                [100, 13],
                [242, 15],
                [1, 256],
              ] as const)
                assert.equal(
                  bitsOf(layer(x.slice([from, 0], [count, depth]))),
                  all.slice(from * width, (from + count) * width),
                  `${name}, ${depth} × ${width}, ${count} rows from ${from}`,
                );
            }
          }
        });
      }));

    test(`sums of nothing are zero, and matrices may be empty (${set})`, () =>
      withInstructions(set, () => {
        tf.tidy(() => {
          const none = tf.zeros<tf.Rank.R2>([3, 0]);
          assert.equal(
            [...fusedProduct(none, tf.zeros([0, 2]), false, false).dataSync()],
            [0, 0, 0, 0, 0, 0],
          );
          assert.equal(fusedProduct(tf.zeros([0, 3]), matrix(3, 2), false, false).shape, [0, 2]);
          assert.equal(fusedProduct(matrix(2, 3), tf.zeros([3, 0]), false, false).shape, [2, 0]);
        });
      }));

    test(`what is not a number stays in its own row and column (${set})`, () =>
      withInstructions(set, () => {
        tf.tidy(() => {
          const isNumber = (x: Tensor): boolean[] => Array.from(x.dataSync(), (one) => !isNaN(one));
          const a = tf.tensor2d([1, 2, NaN, 4, 5, 6], [3, 2]),
            b = tf.tensor2d([1, Infinity, 3, 4], [2, 2]);
          const found = fusedProduct(a, b, false, false);
          assert.equal(isNumber(found), [true, true, false, false, true, true]);
          assert.equal([...found.dataSync()].slice(0, 2), [7, Infinity]);
        });
      }));
  }

  test('inputs that do not fit are refused', () =>
    withInstructions('baseline', () => {
      const [a, b, one] = [matrix(2, 3), matrix(2, 3), draw(1) as Tensor1D];
      assert.throws(
        () => fusedProduct(a, b, false, false),
        /FusedProduct: the matrices do not fit/,
      );
      assert.throws(() => fusedProduct(a, one, false, false), /FusedProduct: not two matrices/);
      assert.throws(() => fusedLinear(a, b, one), /FusedLinear: its inputs do not fit together/);
      assert.throws(
        () => fusedLora([a, b, matrix(1, 2), matrix(2, 1)], null, 1),
        /FusedLora: its inputs do not fit together/,
      );
      assert.throws(
        () =>
          fusedLoraGradient(matrix(2, 2), [a, b, matrix(1, 3), matrix(2, 1), matrix(2, 2)], 1, {
            x: true,
            A: true,
            B: true,
          }),
        /FusedLoraGrad: its inputs do not fit together/,
      );
    }));
}

test.run();

/**
 * Products, linear layers and LoRA layers against PyTorch in double precision
 * (test/golden/products.py): by fused operations, by those of TensorFlow and on the other backends.
 */
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../../src/base/lookup.ts';
import { linear, loraLinear } from '../../../src/science/models/linear.ts';
import { differentiable } from '../../../src/tensor/differentiable.ts';
import { hasFused, withoutFused } from '../../../src/tensor/fused.ts';
import { matmul } from '../../../src/tensor/products.ts';
import {
  assertWithin,
  columnSums,
  type Exact,
  exact,
  plus,
  scaled,
  times,
  transposed,
} from '../../tensor/exact.ts';
import { FLOAT32_SETS, withInstructions } from '../../tensor/instructions.ts';
import { backends, useBackend } from '../backend.ts';
import { type Case, type Flat, tensorOf } from './operation-golden.ts';

const golden = JSON.parse(
  readFileSync(new URL('../../golden/products.json', import.meta.url), 'utf8'),
) as {
  readonly products: readonly (Case & {
    readonly transposeA: boolean;
    readonly transposeB: boolean;
  })[];
  readonly linear: Case;
  readonly lora: readonly (Case & { readonly scale: number })[];
};

/** What float32 makes of the numbers, as a matrix in double precision. */
const read = (flat: Flat): Exact => exact(tensorOf(flat));

/** A value or a gradient in double precision, and how often a summand of it is rounded at most. */
type Bounded = readonly [expected: Exact, roundings: number];

/**
 * Holds the value and the gradients of `of` against PyTorch's. Their bounds come from plain loops
 * in double precision, which must give what PyTorch gives.
 */
function holds(
  name: string,
  own: Case,
  bounds: readonly Bounded[],
  of: (...inputs: Tensor[]) => Tensor,
): void {
  const inputs = own.inputs.map(tensorOf);
  const found = [of(...inputs), ...tf.grads(of)(inputs, tensorOf(own.dy))];
  [own.value, ...own.gradients].forEach(({ values, shape }, i) => {
    const what = `${name}, ${i === 0 ? 'value' : `gradient ${i}`}`,
      [loops, roundings] = at(bounds, i),
      tensor = at(found, i);
    // PyTorch's numbers are written with eleven digits.
    values.forEach((value, j) => {
      const gap = Math.abs(value - at(loops.values, j));
      assert.ok(gap <= 1e-10 * at(loops.sizes, j), `${what}: PyTorch and loops`);
    });
    assert.equal(tensor.shape, shape, what);
    assertWithin(tensor, { ...loops, values: Float64Array.from(values) }, roundings, what);
  });
}

const product = (a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor =>
  differentiable([a as Tensor2D, b as Tensor2D], {
    forward: () => ({ value: matmul(a, b, transposeA, transposeB), saved: [a, b] as const }),
    backward: (dy, [left, right]) => [
      transposeA
        ? matmul(right, dy, transposeB, true) // B dyᵀ
        : matmul(dy, right, false, !transposeB), // dy Bᵀ
      transposeB
        ? matmul(dy, left, true, transposeA) // dyᵀ A
        : matmul(left, dy, !transposeA, false), // Aᵀ dy
    ],
  });

function againstGolden(): void {
  for (const one of golden.products) {
    const { transposeA, transposeB } = one;
    const [a, b] = [read(at(one.inputs, 0)), read(at(one.inputs, 1))],
      dy = read(one.dy);
    const [A, B] = [transposeA ? transposed(a) : a, transposeB ? transposed(b) : b];
    const [dA, dB] = [times(dy, transposed(B)), times(transposed(A), dy)];
    holds(
      `product of ${at(one.inputs, 0).shape.join('×')}, transposed: ${transposeA}, ${transposeB}`,
      one,
      [
        [times(A, B), A.columns],
        [transposeA ? transposed(dA) : dA, dy.columns],
        [transposeB ? transposed(dB) : dB, dy.rows],
      ],
      (x, y) => product(x, y, transposeA, transposeB),
    );
  }
  const own = golden.linear,
    [x, W, b, dy] = [...own.inputs, own.dy].map(read) as [Exact, Exact, Exact, Exact];
  holds(
    'linear',
    own,
    [
      [plus(times(x, transposed(W)), b), x.columns + 1],
      [times(dy, W), dy.columns],
      [times(transposed(dy), x), dy.rows],
      [columnSums(dy), dy.rows],
    ],
    (...inputs) => linear(inputs[0] as Tensor2D, inputs[1] as Tensor2D, inputs[2] as Tensor1D),
  );
  for (const one of golden.lora) loraHolds(one);
}

function loraHolds(own: Case & { readonly scale: number }): void {
  const { scale } = own,
    [x, W, A, B] = own.inputs.map(read) as [Exact, Exact, Exact, Exact],
    b = own.inputs[4],
    dy = read(own.dy);
  const [S, n, m, rank] = [x.rows, x.columns, W.rows, A.rows];
  const down = scaled(times(x, transposed(A)), scale),
    u = scaled(times(dy, B), scale);
  const y = plus(times(x, transposed(W)), times(down, transposed(B)));
  holds(
    `LoRA of rank ${rank}${b === undefined ? '' : ' with a bias'}`,
    own,
    [
      // Each factor of a low-rank term takes part in the sum, the scaling and the sum after it;
      // terms that are computed apart are added after that.
      [b === undefined ? y : plus(y, read(b)), n + rank + 3],
      [plus(times(dy, W), times(u, A)), m + rank + 3],
      [times(transposed(dy), x), S],
      [times(transposed(u), x), m + S + 1],
      [times(transposed(dy), down), n + S + 1],
      ...(b === undefined ? [] : [[columnSums(dy), S] as const]),
    ],
    (...inputs) => {
      const [input, weight, a, bb] = inputs as [Tensor2D, Tensor2D, Tensor2D, Tensor2D];
      const bias = inputs[4] === undefined ? null : (inputs[4] as Tensor1D);
      return loraLinear(input, weight, bias, a, bb, scale);
    },
  );
}

for (const backend of backends)
  test(`values and gradients are PyTorch's (${backend})`, async () => {
    await useBackend(backend);
    if (hasFused()) withoutFused(() => tf.tidy(againstGolden));
    else tf.tidy(againstGolden);
  });

if (backends.includes('tensorflow'))
  for (const set of FLOAT32_SETS)
    test(`values and gradients are PyTorch's by fused operations (${set})`, () =>
      withInstructions(set, () => {
        tf.tidy(againstGolden);
      }));

test.run();

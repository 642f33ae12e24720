/**
 * The statistics of dropout: how often entries are dropped, how the others are scaled, and the
 * variance that results in an adapted layer.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { at } from '../../../src/base/lookup.ts';
import { randomStream } from '../../../src/base/random.ts';
import { dropout, dropoutMask } from '../../../src/science/models/elementwise.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../backend.ts';
import { shape } from '../tiny-bert.ts';

await useBackend('cpu');
/**
 * How many standard errors an estimate may deviate. One estimate in two million deviates more by
 * chance.
 */
const BOUND = 5;

test('a mask keeps entries independently with probability 1 − rate, scaled by 1/(1 − rate)', () => {
  for (const rate of [0.1, 0.5, 0.9]) {
    const n = 331 * 307,
      values = dropoutMask([331, 307], {
        rate,
        random: randomStream(7, 'mask', String(rate)),
      }).dataSync<'float32'>();
    assert.equal([...new Set(values)].sort(), [0, Math.fround(1 / (1 - rate))]);
    const kept = Array.from(values, (x) => (x === 0 ? 0 : 1));
    const share = (of: (i: number) => number, count: number): number =>
      Array.from({ length: count }, (_, i) => of(i)).reduce((a, b) => a + b, 0) / count;
    const near = (value: number, p: number, count: number, what: string): void =>
      assert.ok(
        Math.abs(value - p) < BOUND * Math.sqrt((p * (1 - p)) / count),
        `${what} at ${rate}: ${value}`,
      );
    near(
      share((i) => at(kept, i), n),
      1 - rate,
      n,
      'kept',
    );
    // Two entries are kept together as often as independent ones: along a row, down a column, and
    // far apart.
    for (const step of [1, 307, 997]) {
      // Disjoint pairs, i and i + step, within blocks of 2·step entries.
      const pairs = Math.floor(n / (2 * step)) * step;
      near(
        share((i) => {
          const first = Math.floor(i / step) * 2 * step + (i % step);
          return at(kept, first) * at(kept, first + step);
        }, pairs),
        (1 - rate) ** 2,
        pairs,
        `pairs ${step} apart`,
      );
    }
    for (let column = 0; column < 307; column += 51)
      near(
        share((i) => at(kept, i * 307 + column), 331),
        1 - rate,
        331,
        `column ${column}`,
      );
  }
});

test('each call draws a new mask, and without dropout the tensor itself is returned', () => {
  const random = randomStream(7, 'mask'),
    x = tf.ones([5, 11]);
  const [first, second] = [
    dropout(x, { rate: 0.5, random }),
    dropout(x, { rate: 0.5, random }),
  ].map((y) => [...y.dataSync()]);
  assert.not.equal(first, second);
  assert.is(dropout(x, undefined), x);
});

test("LoRA's dropout drops entries of x independently: mean and variance", async () => {
  const rate = 0.3,
    alpha = 6,
    rank = 2,
    draws = 4000;
  const adapter = await lora.create({ rank, alpha, dropout: rate }, shape);
  const draw = (name: string, ...dims: number[]): Tensor => {
    const stream = randomStream(3, 'layer', name);
    return tf.tensor(
      Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => stream.normal()),
      dims,
    );
  };
  const one = draw('x', 1, 22),
    W = draw('W', 22, 22) as Tensor2D,
    b = draw('b', 22) as Tensor1D,
    A = draw('A', rank, 22) as Tensor2D,
    B = draw('B', 22, rank) as Tensor2D;
  const x = tf.tile(one, [draws, 1]) as Tensor2D; // (draws, 22), where each row has its own mask
  const parameter = (name: string): Tensor => (name.endsWith('lora_A') ? A : B);
  const y = adapter
    .linear('pooler.dense', x, W, b, {
      parameter,
      random: (name) => randomStream(1, 'lora_dropout', name),
    })
    .arraySync();
  const plain = present(
    adapter.linear('pooler.dense', one as Tensor2D, W, b, { parameter }).arraySync()[0],
  );
  const product = tf.mul(tf.matMul(B, A), alpha / rank).arraySync() as number[][],
    input = one.arraySync() as number[][];
  // y_j = (xWᵀ + b)_j + Σ_i k_i/(1−p)·x_i (sBA)_ji with k_i Bernoulli(1−p), so that
  // E y_j = y_j without dropout and Var y_j = p/(1−p) Σ_i (x_i (sBA)_ji)².
  for (let j = 0; j < 22; j++) {
    const column = y.map((row) => at(row, j)),
      mean = column.reduce((a, c) => a + c) / draws;
    const central = (k: number): number =>
      column.reduce((sum, v) => sum + (v - mean) ** k, 0) / draws;
    const variance =
      (rate / (1 - rate)) *
      at(product, j).reduce((sum, weight, i) => sum + (at(at(input, 0), i) * weight) ** 2, 0);
    assert.ok(Math.abs(mean - at(plain, j)) < BOUND * Math.sqrt(variance / draws), `mean of ${j}`);
    assert.ok(
      Math.abs(central(2) - variance) < BOUND * Math.sqrt((central(4) - central(2) ** 2) / draws),
      `variance of ${j}: ${central(2)}, ${variance}`,
    );
  }
});

test.run();

/** The explicit contraction of wide terms, whose gradients are taken in slices. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../../../src/base/random.ts';
import {
  emptyAccumulator,
  type TermBlock,
  type TokenBlock,
} from '../../../../src/science/measures/ntk/accumulator.ts';
import { plain } from '../../../../src/science/measures/ntk/contractions.ts';
import {
  explicit,
  rowGradients,
  sliceWidth,
} from '../../../../src/science/measures/ntk/explicit.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, useBackend } from '../../backend.ts';
import { relative } from './fixture/compare.ts';

const CLASSES = 2;
const stream = randomStream(3, 'explicit');

const matrix = (rows: number, columns: number): Tensor2D =>
  tf.tensor2d(
    Float32Array.from({ length: rows * columns }, () => stream.normal()),
    [rows, columns],
  );

/** A block of two rows, of which the first has two tokens and the second three. */
const block = (first: number, p: number, q: number): TokenBlock => ({
  a: Array.from({ length: CLASSES }, () => matrix(5, p)),
  b: matrix(5, q),
  example: Int32Array.of(0, 0, 1, 1, 1),
  rows: Int32Array.of(first, first + 1),
});

for (const backend of backends)
  for (const [p, q] of [
    [9000, 8],
    [6, 9000],
  ] as const)
    test(`${backend}: slices of (${p}, ${q}), of tokens and of gradients kept`, async () => {
      await useBackend(backend);
      const whole = [block(0, p, q), block(2, p, q)];
      const height = 4 * CLASSES;
      assert.ok(sliceWidth(p, q, height) < p);
      const kept = whole.map((one, k): TermBlock => {
        const { example, rows } = one;
        return k === 0 ? one : { gradients: tf.tidy(() => rowGradients(one)), p, q, example, rows };
      });
      const found = emptyAccumulator(height),
        expected = emptyAccumulator(height);
      explicit(kept, 2, found);
      plain(whole, 2, expected);
      for (let x = 0; x < height; x++)
        for (let y = x + 1; y < height; y++)
          found.data[x * height + y] = expected.data[x * height + y] = 0;
      const error = relative(found.data, expected.data);
      assert.ok(error < tolerance.rounding, String(error));
    });

test.run();

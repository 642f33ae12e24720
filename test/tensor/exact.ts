/**
 * Matrix products in double precision, with bounds for their errors in float32: N. J. Higham,
 * Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.5. A sum of products each of
 * which takes part in at most k roundings is off by at most γ_k Σ|a||b|, γ_k = ku/(1 − ku), in
 * whatever order it is made; u = 2⁻²⁴ for float32.
 */
import * as assert from 'uvu/assert';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { RandomStream } from '../../src/base/random.ts';

/** A matrix, row by row. */
export interface Exact {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
  /** For each entry the sum of the absolute values of its summands. */
  readonly sizes: Float64Array;
}

/** Reads a matrix; a vector is one row. */
export function exact(tensor: Tensor): Exact {
  const [columns = 1, rows = 1] = [...tensor.shape].reverse();
  const values = Float64Array.from(tensor.dataSync());
  return { rows, columns, values, sizes: values.map(Math.abs) };
}

function transposedEntries(from: Float64Array, rows: number, columns: number): Float64Array {
  const to = new Float64Array(from.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j] ?? NaN;
  return to;
}

export const transposed = ({ rows, columns, values, sizes }: Exact): Exact => ({
  rows: columns,
  columns: rows,
  values: transposedEntries(values, rows, columns),
  sizes: transposedEntries(sizes, rows, columns),
});

function entriesOfProduct(
  a: Float64Array,
  b: Float64Array,
  [rows, n, columns]: readonly [number, number, number],
): Float64Array {
  const c = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < n; k++) {
      const factor = a[i * n + k] ?? NaN;
      for (let j = 0; j < columns; j++)
        c[i * columns + j] = (c[i * columns + j] ?? NaN) + factor * (b[k * columns + j] ?? NaN);
    }
  return c;
}

export function times(a: Exact, b: Exact): Exact {
  assert.is(a.columns, b.rows, 'the matrices do not fit together');
  const extents = [a.rows, a.columns, b.columns] as const;
  return {
    rows: a.rows,
    columns: b.columns,
    values: entriesOfProduct(a.values, b.values, extents),
    sizes: entriesOfProduct(a.sizes, b.sizes, extents),
  };
}

/** a + b; b may be one row that is added to each of a. */
export function plus(a: Exact, b: Exact): Exact {
  const sum = (x: Float64Array, y: Float64Array): Float64Array =>
    x.map((value, i) => value + (y[i % y.length] ?? NaN));
  return { ...a, values: sum(a.values, b.values), sizes: sum(a.sizes, b.sizes) };
}

export const scaled = (a: Exact, by: number): Exact => ({
  ...a,
  values: a.values.map((value) => value * by),
  sizes: a.sizes.map((size) => size * Math.abs(by)),
});

/** The sums of the columns. */
export const columnSums = (a: Exact): Exact =>
  times({ rows: 1, columns: a.rows, values: ones(a.rows), sizes: ones(a.rows) }, a);

const ones = (n: number): Float64Array => new Float64Array(n).fill(1);

const UNIT = 2 ** -24;

/** @param roundings those that a summand takes part in, at most */
export function assertWithin(
  found: Tensor,
  expected: Exact,
  roundings: number,
  what: string,
): void {
  assert.is(found.size, expected.values.length, `${what}: ${found.shape.join(' × ')}`);
  const values = found.dataSync(),
    gamma = (roundings * UNIT) / (1 - roundings * UNIT);
  for (let i = 0; i < values.length; i++) {
    const gap = Math.abs((values[i] ?? NaN) - (expected.values[i] ?? NaN)),
      bound = gamma * (expected.sizes[i] ?? NaN);
    if (!(gap <= bound)) assert.unreachable(`${what}, entry ${i}: ${gap} > ${bound}`);
  }
}

/** A tensor of normal draws. */
export const normals = (stream: RandomStream, ...shape: number[]): Tensor =>
  tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => stream.normal()),
    shape,
  );

/** The bits of a tensor in float32. */
export const bitsOf = (tensor: Tensor): Uint32Array =>
  new Uint32Array((tensor.dataSync() as Float32Array).slice().buffer);

/**
 * Contraction through per-row gradients: G^c_i = Σ_t a^c_t b_tᵀ (p, q), then their Gram matrix. p
 * is cut into slices, so that neither memory nor the length of a float32 sum grows with the layer.
 * The slices' Gram matrices are added in double precision.
 */
import type { Rank, Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import {
  fusedGram,
  fusedRowGradients,
  hasFusedProducts,
  matmul,
  type TokenOrder,
} from '../../../tensor/products.ts';
import { takeRows } from '../../../tensor/rows.ts';
import {
  type Accumulator,
  addAt,
  type Contraction,
  type TermBlock,
  type TokenBlock,
  widthsOf,
} from './accumulator.ts';

/** The most bytes of one slice of gradients. Two or three such arrays exist at once. */
const SLICE_BYTES = 64 * 2 ** 20;
/** The most terms of a single float32 sum: its rounding then stays near 1e-6 on every backend. */
const SLICE_LENGTH = 32768;
/** The most rows of a band of the Gram matrix, which `addProducts` computes at once. */
export const GRAM_ROWS = 256;

/**
 * Returns how many of the p rows of each gradient (p, q) a slice has, for this number of gradients.
 */
export function sliceWidth(p: number, q: number, gradients: number): number {
  return Math.max(
    1,
    Math.min(p, Math.floor(SLICE_BYTES / (4 * q * gradients)), Math.floor(SLICE_LENGTH / q)),
  );
}

/**
 * Returns the layout of a block's S tokens as a rectangle (R · T), where R is the number of rows
 * and T the most tokens of one row: the index of the token at each place, or S for padding. Null
 * where the tokens already have this layout.
 */
export function paddedLayout({ example, rows }: TokenBlock): Int32Array | null {
  const counts = new Int32Array(rows.length);
  example.forEach((k) => {
    counts[k]!++;
  });
  const width = counts.reduce((a, b) => Math.max(a, b), 1);
  if (
    example.length === rows.length * width &&
    example.every((k, t) => k === Math.floor(t / width))
  )
    return null;
  const index = new Int32Array(rows.length * width).fill(example.length);
  counts.fill(0);
  example.forEach((k, t) => {
    index[k * width + counts[k]!++] = t;
  });
  return index;
}

/** Puts tokens into the layout `index` of `paddedLayout`: (S, k) → (R, T, k), zero at padding. */
export function padTokens(x: Tensor2D, index: Tensor1D | null, rows: number): Tensor3D {
  const k = x.shape[1];
  const filled = index === null ? x : takeRows(tf.concat([x, tf.zeros<Rank.R2>([1, k])], 0), index);
  return tf.reshape<Rank.R3>(filled, [rows, filled.shape[0] / rows, k]);
}

/**
 * Returns the indexes of a block's tokens, row by row, (S), and where each row starts among them,
 * then where the last one ends, (R + 1).
 */
function tokenOrder({ example, rows }: TokenBlock): TokenOrder {
  const starts = new Int32Array(rows.length + 1);
  example.forEach((k) => {
    starts[k + 1]!++;
  });
  for (let k = 0; k < rows.length; k++) starts[k + 1]! += starts[k]!;
  const next = starts.slice(),
    order = new Int32Array(example.length);
  example.forEach((k, t) => {
    order[next[k]!++] = t;
  });
  return { order: tf.tensor1d(order, 'int32'), starts: tf.tensor1d(starts, 'int32') };
}

/** Returns `width` columns of `a`, from column `start` on; `a` itself if it has no others. */
const takeColumns = (a: Tensor2D, start: number, width: number): Tensor2D =>
  width === a.shape[1] ? a : tf.slice(a, [0, start], [-1, width]);

/**
 * Returns slices of a block's gradients, one for each class: the part that `width` of the p columns
 * of `a` give, from column `start` on.
 */
type Slices = (start: number, width: number) => Tensor2D[]; // C × (R, width · q)

/**
 * Whether the entries of a gradient are in the order of Gᵀ = Σ_t b_t a_tᵀ, which does not change
 * inner products. The SIMD vectors of the compiled operation run along the second factor, so the
 * second must be the wider one: a vector along q = 8 would be half empty.
 */
const isTransposed = (p: number, q: number): boolean => hasFusedProducts() && q < p;

/** Returns the function that computes slices of the gradients of a block, one for each class. */
function sliceGradients(block: TermBlock): Slices {
  const rows = block.rows.length,
    { p, q } = widthsOf(block),
    transposed = isTransposed(p, q);
  if ('gradients' in block)
    return (start, width) =>
      block.gradients.map((own) => {
        if (width === p) return own;
        if (!transposed) return tf.slice(own, [0, start * q], [-1, width * q]);
        const part = tf.slice(
          tf.reshape<Rank.R3>(own, [rows, q, p]),
          [0, 0, start],
          [-1, -1, width],
        );
        return tf.reshape<Rank.R2>(part, [rows, q * width]);
      });
  if (hasFusedProducts()) {
    const order = tokenOrder(block);
    return (start, width) =>
      block.a.map((a) => {
        const part = takeColumns(a, start, width);
        return transposed
          ? fusedRowGradients(block.b, part, order)
          : fusedRowGradients(part, block.b, order);
      });
  }
  const index = paddedLayout(block),
    layout = index === null ? null : tf.tensor1d(index, 'int32'); // (R · T)
  const input = padTokens(block.b, layout, rows); // (R, T, q)
  return (start, width) =>
    block.a.map((a) => {
      const whole = padTokens(takeColumns(a, start, width), layout, rows);
      const product = tf.matMul(whole, input, true, false); // (R, width, q)
      return tf.reshape<Rank.R2>(product, [rows, width * q]);
    });
}

/** Returns the gradients of a block's rows: C × (R, p · q). Call it inside a tidy. */
export const rowGradients = (block: TokenBlock): Tensor2D[] =>
  sliceGradients(block)(0, widthsOf(block).p);

/** Adds the lower triangle of coefficient · L·Lᵀ to a sum, where L has the rows of all `parts`. */
function addGram(parts: readonly Tensor2D[], coefficient: number, sum: Accumulator): void {
  const values = fusedGram(parts).dataSync<'float32'>();
  for (let x = 0; x < sum.size; x++) {
    const row = x * sum.size;
    for (let y = 0; y <= x; y++) sum.data[row + y]! += coefficient * values[row + y]!;
  }
}

/** Adds at least the lower triangle of coefficient · L·Lᵀ to a sum, band by band. */
function addProducts(L: Tensor2D, coefficient: number, sum: Accumulator): void {
  for (let top = 0; top < sum.size; top += GRAM_ROWS) {
    const rows = Math.min(GRAM_ROWS, sum.size - top),
      columns = top + rows;
    const part = tf.tidy(() =>
      matmul(
        tf.slice(L, [top, 0], [rows, -1]),
        columns === sum.size ? L : tf.slice(L, [0, 0], [columns, -1]),
        false,
        true,
      ),
    );
    addAt(sum, part.dataSync<'float32'>(), rows, columns, top, 0, coefficient);
    part.dispose();
  }
}

/**
 * Contraction by the gradients G (R·C, p·q) of all R rows: adds coefficient · G·Gᵀ, in slices of p.
 */
export const explicit: Contraction = (blocks, coefficient, sum) => {
  const { p, q } = widthsOf(blocks[0]!);
  const step = sliceWidth(p, q, sum.size);
  tf.tidy(() => {
    const sliced = blocks.map(sliceGradients);
    for (let start = 0; start < p; start += step)
      tf.tidy(() => {
        const parts = sliced.flatMap((slices) => slices(start, Math.min(step, p - start)));
        if (hasFusedProducts()) addGram(parts, coefficient, sum);
        else addProducts(tf.concat(parts, 0), coefficient, sum);
      });
  });
};

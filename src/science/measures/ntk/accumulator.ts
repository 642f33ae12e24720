import type { Tensor2D } from '@tensorflow/tfjs-core';

interface BlockRows {
  /** The row of the block that each token belongs to. */
  readonly example: Int32Array; // (S)
  /** The position of each of the block's rows among all rows. */
  readonly rows: Int32Array;
}

/** A term (see terms.ts) over one batch of rows with S tokens. */
export interface TokenBlock extends BlockRows {
  /** a^c of each class c. */
  readonly a: readonly Tensor2D[]; // C × (S, p)
  readonly b: Tensor2D; // (S, q)
}

/** A term over one batch of R rows whose gradients were computed already. */
export interface GradientBlock extends BlockRows {
  /** G^c = Σ_t a^c_t b_tᵀ of each row, as explicit.ts lays it out. */
  readonly gradients: readonly Tensor2D[]; // C × (R, p·q)
  readonly p: number;
  readonly q: number;
}

export type TermBlock = TokenBlock | GradientBlock;

/** Returns the widths of a term: p of each a^c, and q of b. They are the sides of a gradient. */
export const widthsOf = (
  term: Omit<TokenBlock, keyof BlockRows> | Omit<GradientBlock, keyof BlockRows>,
): Pick<GradientBlock, 'p' | 'q'> =>
  'gradients' in term ? term : { p: term.a[0]!.shape[1], q: term.b.shape[1] };

/**
 * Returns the blocks, typed as blocks with tokens. Throws an Error if one of them has gradients
 * instead.
 */
export const tokenBlocks = (blocks: readonly TermBlock[]): TokenBlock[] =>
  blocks.map((block) => {
    if ('gradients' in block) throw new Error('this contraction needs the tokens of each row');
    return block;
  });

/**
 * A kernel under construction, in double precision on the host. Its rows and columns are in the
 * order of the batches (block, class, row of the block), so that adding to it is one pass over
 * memory; `unfold` puts them in the rows' order.
 */
export interface Accumulator {
  readonly size: number; // N·C
  readonly data: Float64Array; // (N·C, N·C)
}

export const emptyAccumulator = (size: number): Accumulator => ({
  size,
  data: new Float64Array(size ** 2),
});

/**
 * For every pair of rows, adds coefficient · Σ_{t,u} (a^c_t · a^d_u)(b_t · b_u) to `sum`. The
 * entries on and below the diagonal become right; those above it, which nobody reads, may be added
 * to or not.
 */
export type Contraction = (
  blocks: readonly TermBlock[],
  coefficient: number,
  sum: Accumulator,
) => void;

/**
 * Returns for each row of an accumulator its index in the kernel: i·C + c for row i and class c.
 * @param blocks the positions of each block's rows among all rows
 */
export const kernelOrder = (blocks: readonly Int32Array[], classes: number): Int32Array =>
  Int32Array.from(
    blocks.flatMap((rows) =>
      Array.from({ length: classes }, (_, c) =>
        Array.from(rows, (row) => row * classes + c),
      ).flat(),
    ),
  );

/** Returns for each block the index of its first row in an accumulator. */
export function blockStarts(blocks: readonly TokenBlock[]): number[] {
  let at = 0;
  return blocks.map(({ a, rows }) => {
    const start = at;
    at += a.length * rows.length;
    return start;
  });
}

/**
 * Adds coefficient · `values` (height, width) to the rectangle of a sum that begins at row `top`
 * and column `left`.
 */
export function addAt(
  sum: Accumulator,
  values: Float32Array,
  height: number,
  width: number,
  top: number,
  left: number,
  coefficient: number,
): void {
  for (let x = 0; x < height; x++) {
    const to = (top + x) * sum.size + left,
      from = x * width;
    for (let y = 0; y < width; y++) sum.data[to + y]! += coefficient * values[from + y]!;
  }
}

/**
 * Returns the kernel (N, C, N, C) in the rows' order, mirrored from the lower triangle of an
 * accumulator. order: (N·C), as `kernelOrder` returns it.
 */
export function unfold({ size, data }: Accumulator, order: Int32Array): Float64Array {
  const out = new Float64Array(data.length);
  for (let x = 0; x < size; x++) {
    for (let y = 0; y <= x; y++) {
      const value = data[x * size + y]!;
      out[order[x]! * size + order[y]!] = value;
      out[order[y]! * size + order[x]!] = value;
    }
  }
  return out;
}

/** A symmetric kernel in the rows' order, in double precision. */
export interface KernelSum {
  readonly rows: number; // N
  readonly classes: number; // C
  readonly data: Float64Array; // (N, C, N, C)
}

export const emptyKernel = (rows: number, classes: number): KernelSum => ({
  rows,
  classes,
  data: new Float64Array((rows * classes) ** 2),
});

/**
 * Replaces K by (K + Kᵀ)/2, in place: matrix products are symmetric to rounding only. data: (size,
 * size).
 */
export function symmetrise(data: Float64Array, size: number): void {
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < i; j++) {
      const mean = (data[i * size + j]! + data[j * size + i]!) / 2;
      data[i * size + j] = mean;
      data[j * size + i] = mean;
    }
  }
}

/** Returns the sum over the diagonal. data: (size, size). */
export function trace(data: Float64Array, size: number): number {
  let sum = 0;
  for (let i = 0; i < size; i++) sum += data[i * size + i]!;
  return sum;
}

/** What the implementations of a term's contraction share. */
import type { Tensor2D } from '@tensorflow/tfjs-core';

/** A term over one batch of rows. */
export interface TermBlock {
  /** By class. */
  readonly a: readonly Tensor2D[]; // C × (S, p)
  readonly b: Tensor2D; // (S, q)
  /** Which of the block's rows each token belongs to. */
  readonly example: Int32Array; // (S)
  /** Where each of the block's rows stands in the kernel. */
  readonly rows: Int32Array;
}

/** A kernel under construction, in double precision on the host. */
export interface KernelSum {
  readonly rows: number; // N
  readonly classes: number; // C
  readonly data: Float64Array; // (N, C, N, C)
}

export const emptyKernel = (rows: number, classes: number): KernelSum =>
  ({ rows, classes, data: new Float64Array((rows * classes) ** 2) });

/** Adds coefficient · Σ_{t,u} (a^c_t · a^d_u)(b_t · b_u) of every pair of rows to `sum`. */
export type Contraction = (blocks: readonly TermBlock[], coefficient: number, sum: KernelSum) => void;

/** The kernel index (i, c) of a block's rows, class-major: (C · rows). */
export function kernelIndex(block: TermBlock, classes: number): Int32Array {
  const index = new Int32Array(classes * block.rows.length);
  for (let c = 0; c < classes; c++) block.rows.forEach((row, k) => { index[c * block.rows.length + k] = row * classes + c; });
  return index;
}

/** (K + Kᵀ)/2 in place: matrix products are symmetric to rounding only. */
export function symmetrise(data: Float64Array, size: number): void {
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < i; j++) {
      const mean = (data[i * size + j]! + data[j * size + i]!) / 2;
      data[i * size + j] = mean;
      data[j * size + i] = mean;
    }
  }
}

export function trace(data: Float64Array, size: number): number {
  let sum = 0;
  for (let i = 0; i < size; i++) sum += data[i * size + i]!;
  return sum;
}

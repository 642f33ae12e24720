/**
 * Kernels by random projection, for many rows or wide layers. Each side of a term is projected by a
 * matrix of random signs, P_a (k, p) and P_b (k, q) with entries ±1/√k, so that a row's gradient G
 * (p, q) becomes P_a G P_bᵀ (k, k):
 *
 *     E ⟨P_a G P_bᵀ, P_a G' P_bᵀ⟩ = ⟨G, G'⟩
 *
 * without writing out a p·q gradient (the two-sided projection of Choe et al. 2024, LoGra). The
 * mean of several independent projections is an unbiased estimate of the kernel, and their spread
 * gives its standard error.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../../base/random.ts';
import type { Accumulator } from './contraction.ts';
import type { Term } from './terms.ts';

export interface Projection {
  /** k. A side of at most this width is not projected. */
  readonly dimension: number;
  /** The number of independent projections to average, at least two. */
  readonly replicates: number;
  readonly seed: number;
}

/** Returns (width, k), entries ±1/√k, drawn from the stream (seed, 'projection', name). */
function signs(width: number, k: number, seed: number, name: string): Tensor2D {
  const stream = randomStream(seed, 'projection', name);
  const data = new Float32Array(width * k),
    size = 1 / Math.sqrt(k);
  for (let i = 0; i < data.length; i++) data[i] = stream.integer(2) === 0 ? size : -size;
  return tf.tensor2d(data, [width, k]);
}

/**
 * Projects one term, given for each of several batches, by the same matrices. The new tensors
 * belong to the enclosing tidy scope.
 * @param name names the layer and the term; with the seed and the replicate's number it determines
 *   the signs
 */
export function project(
  terms: readonly Term[],
  { dimension: k, seed }: Projection,
  name: string,
  replicate: number,
): Term[] {
  const p = terms[0]!.a[0]!.shape[1],
    q = terms[0]!.b.shape[1];
  const A = p > k ? signs(p, k, seed, `${name}.a.${replicate}`) : null,
    B = q > k ? signs(q, k, seed, `${name}.b.${replicate}`) : null;
  return terms.map(({ a, b, coefficient }) => ({
    a: A === null ? a : a.map((x) => tf.matMul<Tensor2D>(x, A)), // C × (S, k)
    b: B === null ? b : tf.matMul<Tensor2D>(b, B), // (S, k)
    coefficient,
  }));
}

/**
 * Adds the replicates' mean to `exact`, and returns the standard error of the result as a share of
 * its norm:
 *
 *     √(Σ_r ‖K_r − K̄‖²_F / (R(R − 1))) / ‖K‖_F
 *
 * Norms are over the filled entries: for a kernel of rows with themselves, the lower triangle with
 * off-diagonal entries counted twice.
 */
export function addReplicates(
  exact: Accumulator,
  replicates: readonly Accumulator[],
  symmetric: boolean,
): number {
  const R = replicates.length;
  let spread = 0,
    norm = 0;
  for (let x = 0; x < exact.height; x++) {
    for (let y = 0; y < (symmetric ? x + 1 : exact.width); y++) {
      const at = x * exact.width + y,
        weight = symmetric && x !== y ? 2 : 1;
      let mean = 0;
      for (const { data } of replicates) mean += data[at]! / R;
      for (const { data } of replicates) spread += weight * (data[at]! - mean) ** 2;
      exact.data[at]! += mean;
      norm += weight * exact.data[at]! ** 2;
    }
  }
  return Math.sqrt(spread / (R * (R - 1)) / norm);
}

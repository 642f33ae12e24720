/**
 * One kernel of one layer. Each of its terms is contracted in the cheapest way or, for many rows or
 * wide layers, estimated by random projection: each side of the term is projected by a matrix of
 * random signs, P_a (k, p) and P_b (k, q) with entries ±1/√k, so that a row's gradient G (p, q)
 * becomes P_a G P_bᵀ (k, k):
 *
 *     E ⟨P_a G P_bᵀ, P_a G' P_bᵀ⟩ = ⟨G, G'⟩
 *
 * A gradient of p·q entries is never written out (the two-sided projection of Choe et al. 2024,
 * LoGra). The mean of several independent projections is an unbiased estimate of the kernel, and
 * their spread gives its standard error.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../../base/random.ts';
import { compiled } from '../../../tensor/compiled/compiled.ts';
import type { AdaptedLayer } from '../../models/types.ts';
import { type Accumulator, type TermBlock, widthsOf } from './accumulator.ts';
import {
  blockShape,
  cheaper,
  contractions,
  type Costs,
  costs,
  type Method,
} from './contractions.ts';
import type { LayerBatch } from './layerwise.ts';
import {
  fullTerms,
  type GradientTerm,
  type KernelKind,
  type OwnTerm,
  ownTerms,
  type Term,
  type ZeroTerms,
  zeroTerms,
} from './terms.ts';

type AnyTerm = Term | GradientTerm;

export interface Projection {
  /** k. A side of a term, p or q, that is at most this wide is not projected. */
  readonly dimension: number;
  /** The number of independent projections to average, at least two. */
  readonly replicates: number;
  readonly seed: number;
}

/** Returns (width, k), entries ±1/√k, drawn from the stream (seed, 'projection', name). */
function drawSigns(width: number, k: number, seed: number, name: string): Tensor2D {
  const stream = randomStream(seed, 'projection', name);
  const data = new Float32Array(width * k),
    size = 1 / Math.sqrt(k);
  for (let i = 0; i < data.length; i++) data[i] = stream.integer(2) === 0 ? size : -size;
  return tf.tensor2d(data, [width, k]);
}

/**
 * Projects the batches of a term, all by the same matrices. The new tensors belong to the enclosing
 * tidy scope. Throws an Error where a batch has gradients instead of tokens.
 * @param name `LAYER.PARAMETER`; with the replicate it names the stream of the matrices
 */
function project(
  terms: readonly AnyTerm[],
  { dimension: k, seed }: Projection,
  name: string,
  replicate: number,
): Term[] {
  const { p, q } = widthsOf(terms[0]!);
  const A = p > k ? drawSigns(p, k, seed, `${name}.a.${replicate}`) : null,
    B = q > k ? drawSigns(q, k, seed, `${name}.b.${replicate}`) : null;
  return terms.map((term) => {
    if ('gradients' in term) throw new Error('a projection needs the tokens of each row');
    const { a, b, coefficient } = term;
    return {
      a: A === null ? a : a.map((x) => tf.matMul<Tensor2D>(x, A)), // C × (S, k)
      b: B === null ? b : tf.matMul<Tensor2D>(b, B), // (S, k)
      coefficient,
    };
  });
}

/**
 * Adds the replicates' mean to `exact`, which makes the estimate K. Returns the standard error of K
 * as a share of its norm, for the R replicates K_r and their mean K̄:
 *
 *     √(Σ_r ‖K_r − K̄‖²_F / (R(R − 1))) / ‖K‖_F
 *
 * Norms are over the lower triangle, with off-diagonal entries counted twice.
 */
export function addReplicates(exact: Accumulator, replicates: readonly Accumulator[]): number {
  const R = replicates.length;
  let spread = 0,
    norm = 0;
  for (let x = 0; x < exact.size; x++) {
    for (let y = 0; y <= x; y++) {
      const at = x * exact.size + y,
        weight = x === y ? 1 : 2;
      let mean = 0;
      for (const { data } of replicates) mean += data[at]! / R;
      for (const { data } of replicates) spread += weight * (data[at]! - mean) ** 2;
      exact.data[at]! += mean;
      norm += weight * exact.data[at]! ** 2;
    }
  }
  return Math.sqrt(spread / (R * (R - 1)) / norm);
}

export interface LayerJob {
  readonly layer: AdaptedLayer;
  readonly batches: readonly LayerBatch[]; // at least one
  readonly classes: number;
  readonly method: 'auto' | Method;
  readonly projection: Projection | null;
}

/** One sum for exact terms, and one for each replicate of projected terms. */
export interface Sums {
  readonly exact: Accumulator;
  readonly replicates: readonly Accumulator[];
}

export interface TermRecord {
  readonly layer: string;
  readonly kernel: KernelKind;
  readonly parameter: 'W' | OwnTerm['parameter'];
  /**
   * How the term was contracted. `zero`: not at all, since another parameter of the layer is zero,
   * which makes the term zero. `torch`: in PyTorch's process.
   */
  readonly method: Method | 'zero' | 'torch';
  readonly projected: boolean;
  /**
   * The operations that the cost model counts, for a projected term at its projected sizes. Null
   * under `torch`, for which there is no cost model.
   */
  readonly operations: Costs | null;
}

const toBlock = (term: AnyTerm, { tokens: { example }, rows }: LayerBatch): TermBlock =>
  'gradients' in term
    ? { gradients: term.gradients, p: term.p, q: term.q, example, rows }
    : { a: term.a, b: term.b, example, rows };

/**
 * Adds the kernel of one term, given batch by batch, to `sum`: by gradients where a batch has them
 * in place of tokens, else as `job.method` says. Returns how it was contracted, and the operations
 * of both contractions.
 */
function contract(
  terms: readonly AnyTerm[],
  job: LayerJob,
  sum: Accumulator,
): Pick<TermRecord, 'method' | 'operations'> {
  const blocks = terms.map((term, i) => toBlock(term, job.batches[i]!));
  const { p, q } = widthsOf(blocks[0]!);
  const operations = costs(blocks.map(blockShape), job.classes, p, q);
  const reduced = blocks.some((block) => 'gradients' in block);
  const method = reduced ? 'explicit' : job.method === 'auto' ? cheaper(operations) : job.method;
  contractions[method](blocks, terms[0]!.coefficient, sum);
  return { method, operations };
}

/**
 * Projects one term anew for each replicate, and adds its kernel to that replicate's sum. Returns
 * the last replicate's method and operations, at the projected sizes.
 */
function contractProjected(
  terms: readonly AnyTerm[],
  name: string,
  projection: Projection,
  job: LayerJob,
  sums: readonly Accumulator[],
): Pick<TermRecord, 'method' | 'operations'> {
  let record: Pick<TermRecord, 'method' | 'operations'> | null = null;
  sums.forEach((sum, replicate) =>
    tf.tidy(() => {
      record = contract(project(terms, projection, name, replicate), job, sum);
    }),
  );
  return record!;
}

/**
 * Adds a layer's kernel to the sums, term by term: a projected term to each replicate's sum, any
 * other to `exact`. Returns a record of each term, also of those that are not computed because they
 * are zero, as A's at B = 0. The layer must have a kernel of this kind (`hasKernel`).
 */
export function addLayer(
  kernel: KernelKind,
  job: LayerJob,
  { exact, replicates }: Sums,
): TermRecord[] {
  const { layer, batches, projection } = job;
  const zero: ZeroTerms = kernel === 'lora' ? zeroTerms(layer) : new Set();
  /**
   * Returns the terms of the layer over one batch. The terms of an adapter's kernel are the
   * gradients, if the batch keeps them; otherwise they are made of h and δ.
   */
  const termsOf = (batch: LayerBatch): readonly (AnyTerm & Pick<TermRecord, 'parameter'>)[] =>
    kernel === 'full'
      ? fullTerms(batch.tokens).map((term) => ({ ...term, parameter: 'W' }))
      : (batch.own ?? ownTerms(layer, batch.tokens, zero));
  const records = [...zero].map((parameter): TermRecord => ({
    layer: layer.name,
    kernel,
    parameter,
    method: 'zero',
    projected: false,
    operations: { explicit: 0, gram: 0 },
  }));
  const contractAll = (): void => {
    const ofBatches = batches.map(termsOf);
    ofBatches[0]!.forEach((first, k) => {
      const { parameter } = first;
      const terms = ofBatches.map((ofBatch) => ofBatch[k]!);
      const { p, q } = widthsOf(first);
      // Projecting is of use only where a side is wider than the projection.
      const projected = projection !== null && Math.max(p, q) > projection.dimension;
      records.push({
        layer: layer.name,
        kernel,
        parameter,
        projected,
        ...(projected
          ? contractProjected(terms, `${layer.name}.${parameter}`, projection, job, replicates)
          : contract(terms, job, exact)),
      });
    });
  };
  compiled(() => tf.tidy(contractAll));
  return records;
}

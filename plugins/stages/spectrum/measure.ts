/**
 * How training changed a weight, described by singular values: ΔW's spectrum and effective rank,
 * and intruder dimensions, that is, leading singular vectors of the trained weight that are similar
 * to none of the initial weight's (Shuttleworth et al. 2024, LoRA vs Full Fine-tuning: An Illusion
 * of Equivalence, arXiv 2410.21228; left singular vectors, as there).
 */
import { createHash } from 'node:crypto';
import type { LayerChange } from '../../../src/science/measures/weights/effective.ts';
import {
  leadingLeftVectors,
  lowRankSingularValues,
  singularValues,
  svd,
} from '../../../src/tensor/linalg.ts';
import { processWide } from '../../../src/tensor/process-wide.ts';

export interface SpectrumOptions {
  /** The share of Σσ² that the effective rank holds. */
  readonly energy: number;
  /** How many of the trained weight's leading singular vectors are examined. */
  readonly vectors: number;
  /** A vector is an intruder if its largest |cos| with the initial ones is below this. */
  readonly cosine: number;
}

/** One layer's entry in `spectrum.json`. */
export interface LayerSpectrum {
  readonly layer: string;
  readonly shape: readonly [number, number]; // (m, n)
  /**
   * Singular values of ΔW, descending, without those that are zero because ΔW is a product of thin
   * factors.
   */
  readonly singular_values: readonly number[];
  /** ‖ΔW‖_F */
  readonly change: number;
  /** ‖ΔW‖_F / ‖W₀‖_F */
  readonly relative_change: number;
  /** The least k with Σ_{i ≤ k} σ_i² ≥ energy · Σσ²; 0 where nothing moved. */
  readonly effective_rank: number;
  /** ‖ΔW‖_F²/σ₁²; 0 where nothing moved. */
  readonly stable_rank: number;
  /**
   * max_j |cos(u_k, u⁰_j)| for the trained weight's left singular vectors u_k, in the order of
   * singular values.
   */
  readonly cosines: readonly number[];
  readonly intruder_dimensions: number;
}

const norm = (values: Float64Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

/**
 * Returns the least k with Σ_{i ≤ k} σ_i² ≥ energy · Σσ²; 0 where all are zero.
 * @param values the singular values σ, descending
 */
export function effectiveRank(values: ArrayLike<number>, energy: number): number {
  const squares = Array.from(values, (value) => value * value);
  const total = squares.reduce((a, b) => a + b, 0);
  if (total === 0) return 0;
  let sum = 0;
  const k = squares.findIndex((value) => (sum += value) >= energy * total * (1 - 1e-12));
  return k + 1;
}

/**
 * Left singular vectors of initial weights, which the cells of a grid share. Keyed by content, so
 * an entry is never stale.
 */
const INITIAL_BYTES = 256 * 2 ** 20;
const known = processWide('initial-left-vectors', () => new Map<string, Float64Array>());

function initialVectors(initial: Float64Array, m: number, n: number): Float64Array {
  const name = createHash('sha256')
    .update(`${m} ${n} `)
    .update(new Uint8Array(initial.buffer, initial.byteOffset, initial.byteLength))
    .digest('base64');
  const found = known.get(name) ?? svd(initial, m, n).left!; // (m, min(m, n))
  known.delete(name);
  known.set(name, found); // moved to the end: the least recently used entry is evicted first
  let bytes = 0;
  for (const { byteLength } of known.values()) bytes += byteLength;
  for (const [oldest, { byteLength }] of known) {
    if (bytes <= INITIAL_BYTES) break;
    known.delete(oldest);
    bytes -= byteLength;
  }
  return found;
}

/**
 * max_j |cos(u_k, u⁰_j)| for the first `vectors` of the trained weight. initial, trained: (m, n),
 * row-major.
 */
function vectorCosines(
  initial: Float64Array,
  trained: Float64Array,
  m: number,
  n: number,
  vectors: number,
): number[] {
  const k = Math.min(m, n),
    some = Math.min(vectors, k);
  const U0 = initialVectors(initial, m, n); // (m, k)
  const U = leadingLeftVectors(trained, m, n, some); // (m, some)
  return Array.from({ length: some }, (_, column) => {
    const products = new Float64Array(k);
    for (let i = 0; i < m; i++) {
      const u = U[i * some + column]!;
      for (let j = 0; j < k; j++) products[j]! += u * U0[i * k + j]!;
    }
    return products.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  });
}

/** @param initial W₀ (m, n), row-major */
export function layerSpectrum(
  layer: string,
  initial: Float64Array,
  { change, thin }: LayerChange,
  [m, n]: readonly [number, number],
  options: SpectrumOptions,
): LayerSpectrum {
  const values =
    thin === null
      ? singularValues(change, m, n)
      : thin.k === 0
        ? new Float64Array(0)
        : lowRankSingularValues(thin.P, thin.Q, m, n, thin.k);
  const size = norm(change),
    top = values[0] ?? 0;
  const cosines = vectorCosines(
    initial,
    initial.map((value, i) => value + change[i]!),
    m,
    n,
    options.vectors,
  );
  return {
    layer,
    shape: [m, n],
    singular_values: [...values],
    change: size,
    relative_change: size / norm(initial),
    effective_rank: effectiveRank(values, options.energy),
    stable_rank: top === 0 ? 0 : size ** 2 / top ** 2,
    cosines,
    intruder_dimensions: cosines.filter((value) => value < options.cosine).length,
  };
}

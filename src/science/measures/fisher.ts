/**
 * Spectra of the Fisher information and their summaries, as `fisher.json` holds them
 * (docs/theory.md, Fisher information). The summaries are information bits ½ Σ log λ and Rényi
 * entropies. Each is given raw, as in the paper, and normalised (of λ/Σλ, which does not change if
 * the kernel is scaled). Logarithms are natural.
 *
 * The spectrum is computed without a P × P matrix. J is the Jacobian of the outputs, K = JJᵀ the
 * kernel, and 𝓛 weights the outputs (`trueFisher`). For G = 𝓛ᵀJ, the matrices GᵀG/N (P × P) and
 * GGᵀ/N = 𝓛ᵀK𝓛/N share their nonzero eigenvalues.
 */
import { symmetricEigenvalues } from '../../tensor/linalg.ts';

/** An order of the Rényi entropy; α = 1 is Shannon's, ∞ the min-entropy. */
export type Alpha = number | 'inf';

/** Returns the eigenvalues above tolerance · λmax; none if none is positive. */
export function nonzeroEigenvalues(spectrum: readonly number[], tolerance: number): number[] {
  const top = spectrum.reduce((a, b) => Math.max(a, b), 0);
  return top > 0 ? spectrum.filter((value) => value > tolerance * top) : [];
}

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Returns the values divided by their sum, λ/Σλ. */
export function normalised(values: readonly number[]): number[] {
  const sum = total(values);
  return values.map((value) => value / sum);
}

/**
 * Returns ½ log pdet F = ½ Σ log λ, in nats, which the paper calls bits.
 * @param values the positive eigenvalues
 */
export function informationBits(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + Math.log(value), 0) / 2;
}

/**
 * Returns the Rényi entropy: H_α = 1/(1−α) · log Σ λ^α;  H_∞ = −log λmax;  H_1 = −Σ λ log λ if Σλ =
 * 1. Null for α = 1 where Σλ ≠ 1: the limit does not exist.
 */
export function renyi(values: readonly number[], alpha: Alpha): number | null {
  if (alpha === 'inf') return -Math.log(values.reduce((a, b) => Math.max(a, b), 0));
  if (alpha === 1) {
    if (Math.abs(total(values) - 1) > 1e-9) return null;
    return -values.reduce((sum, value) => sum + value * Math.log(value), 0);
  }
  return Math.log(total(values.map((value) => value ** alpha))) / (1 - alpha);
}

interface FisherOptions {
  /** Eigenvalues at or below tolerance · λmax count as zero. */
  readonly tolerance: number;
  readonly alphas: readonly Alpha[];
}

export interface SpectrumSummary {
  /** All eigenvalues, descending, including those that count as zero. */
  readonly spectrum: readonly number[];
  /** The number of eigenvalues that do not count as zero. */
  readonly count: number;
  readonly tolerance: number;
  /** ½ Σ log λ over the eigenvalues that do not count as zero; null where there are none. */
  readonly information_bits: number | null;
  /** ½ Σ log(λ/Σλ) over the same eigenvalues; null where there are none. */
  readonly information_bits_normalised: number | null;
  readonly renyi: {
    /** Keyed by α as text. α = 1 has no raw value. Empty where all eigenvalues count as zero. */
    readonly raw: Readonly<Record<string, number>>;
    readonly normalised: Readonly<Record<string, number>>;
  };
  /** Count and information bits at each of `TOLERANCES`. */
  readonly sensitivity: readonly {
    readonly tolerance: number;
    readonly count: number;
    readonly information_bits: number | null;
  }[];
}

/** The summary of the true Fisher information over the first `rows` rows. */
type RowSensitivity = { readonly rows: number } & Pick<
  SpectrumSummary,
  'count' | 'information_bits' | 'information_bits_normalised'
>;

export interface FisherSummary {
  readonly true: SpectrumSummary;
  readonly empirical: SpectrumSummary;
  /** Count and information bits over a quarter, half, three quarters and all of the rows. */
  readonly by_rows: readonly RowSensitivity[];
}

export type EmpiricalSummary = Pick<FisherSummary, 'empirical'>;

/**
 * The tolerances of `sensitivity`. If the counts at all of them are equal, the results do not
 * depend on the choice of a tolerance.
 */
const TOLERANCES = [1e-4, 1e-5, 1e-6, 1e-7, 1e-8];

/** Returns the Rényi entropies by α as text, without those that are undefined. */
function entropies(values: readonly number[], alphas: readonly Alpha[]): Record<string, number> {
  const out: Record<string, number> = {};
  for (const alpha of alphas) {
    const value = renyi(values, alpha);
    if (value !== null) out[String(alpha)] = value;
  }
  return out;
}

/**
 * Summarises a spectrum, which is in descending order. Bits are null, and there are no entropies,
 * where no eigenvalue is positive.
 */
export function summariseSpectrum(
  spectrum: readonly number[],
  { tolerance, alphas }: FisherOptions,
): SpectrumSummary {
  /** Returns ½ Σ log λ; null for no values. */
  const bits = (values: readonly number[]): number | null =>
    values.length === 0 ? null : informationBits(values);
  const values = nonzeroEigenvalues(spectrum, tolerance);
  const shares = normalised(values);
  const none = values.length === 0;
  return {
    spectrum,
    count: values.length,
    tolerance,
    information_bits: bits(values),
    information_bits_normalised: bits(shares),
    // α = 1 is Shannon's entropy, which is defined only for a distribution.
    renyi: {
      raw: none
        ? {}
        : entropies(
            values,
            alphas.filter((alpha) => alpha !== 1),
          ),
      normalised: none ? {} : entropies(shares, alphas),
    },
    sensitivity: TOLERANCES.map((at) => {
      const some = nonzeroEigenvalues(spectrum, at);
      return { tolerance: at, count: some.length, information_bits: bits(some) };
    }),
  };
}

/** Returns all eigenvalues of the matrix that `SymmetricMatrix` stands for, descending. */
export const spectrumOf = ({ n, data, zeros }: SymmetricMatrix): number[] =>
  [...symmetricEigenvalues(data, n), ...new Array<number>(zeros).fill(0)].sort((a, b) => b - a);

/**
 * Returns the summary of the empirical Fisher information alone.
 * @param kernel K of class logits, (N, C, N, C), or of log p(answer), (N, 1, N, 1)
 * @param logits (N, C), or the N values of log p(answer)
 * @param labels (N); null where the kernel is of log p(answer)
 */
export function empiricalSummary(
  kernel: ArrayLike<number>,
  logits: ArrayLike<number>,
  labels: readonly number[] | null,
  options: FisherOptions,
): EmpiricalSummary {
  const rows = labels?.length ?? logits.length;
  const matrix =
    labels === null
      ? answersFisher(kernel, rows)
      : empiricalFisher(kernel, logits, labels, rows, logits.length / rows);
  return { empirical: summariseSpectrum(spectrumOf(matrix), options) };
}

/**
 * Returns the summaries of the true and the empirical Fisher information. Throws RangeError where
 * the sizes do not fit.
 * @param kernel K of the logits, (N, C, N, C)
 * @param logits (N, C)
 * @param labels (N)
 */
export function fisher(
  kernel: ArrayLike<number>,
  logits: ArrayLike<number>,
  labels: readonly number[],
  options: FisherOptions,
): FisherSummary {
  const rows = labels.length;
  const classes = logits.length / rows;
  if (!Number.isInteger(classes) || kernel.length !== (rows * classes) ** 2) {
    throw new RangeError(
      `a kernel of ${kernel.length} entries and ${logits.length} logits don't belong to ` +
        `${rows} rows`,
    );
  }
  const summarise = (matrix: SymmetricMatrix): SpectrumSummary =>
    summariseSpectrum(spectrumOf(matrix), options);
  /** Summarises the true Fisher information of the first `count` rows. */
  const ofFirst = (count: number): SpectrumSummary => {
    const n = count * classes;
    const part = Float64Array.from(
      { length: n * n },
      (_, at) => kernel[Math.floor(at / n) * rows * classes + (at % n)]!,
    );
    return summarise(trueFisher(part, Array.from(logits).slice(0, n), count, classes));
  };
  const all = summarise(trueFisher(kernel, logits, rows, classes));
  const some = [...new Set([1, 2, 3].map((quarters) => Math.round((quarters * rows) / 4)))].filter(
    (count) => count > 0 && count < rows,
  );
  return {
    true: all,
    empirical: summarise(empiricalFisher(kernel, logits, labels, rows, classes)),
    by_rows: [...some, rows].map((count) => {
      const summary = count === rows ? all : ofFirst(count);
      return {
        rows: count,
        count: summary.count,
        information_bits: summary.information_bits,
        information_bits_normalised: summary.information_bits_normalised,
      };
    }),
  };
}

/**
 * A symmetric matrix (n, n). It stands for a larger one, of size n + `zeros`, that has the same
 * eigenvalues and `zeros` times the eigenvalue zero.
 */
interface SymmetricMatrix {
  readonly n: number;
  readonly data: Float64Array; // row-major
  readonly zeros: number;
}

/** softmax by row. logits: (N, C) → (N, C). */
export function softmax(logits: ArrayLike<number>, classes: number): Float64Array {
  const p = new Float64Array(logits.length);
  for (let i = 0; i < logits.length; i += classes) {
    let top = -Infinity,
      sum = 0;
    for (let c = 0; c < classes; c++) top = Math.max(top, logits[i + c]!);
    for (let c = 0; c < classes; c++) sum += p[i + c] = Math.exp(logits[i + c]! - top);
    for (let c = 0; c < classes; c++) p[i + c]! /= sum;
  }
  return p;
}

/**
 * Returns L with L Lᵀ = diag(p) − p pᵀ, of full column rank: L = diag(√p) Q, Q an orthonormal basis
 * of √p's complement. p: (C) → (C, C − 1), row-major.
 */
export function classFactor(p: ArrayLike<number>): Float64Array {
  const classes = p.length;
  const u = Float64Array.from(p, Math.sqrt); // of length 1
  // The Householder reflection I − 2vvᵀ/vᵀv with v = u + e_k takes u to −e_k, so its columns other
  // than column k span u's complement. With u_k the largest entry, no digits cancel.
  const k = u.indexOf(Math.max(...u));
  const norm = 2 * (1 + u[k]!); // vᵀv
  const v = u.map((value, c) => value + (c === k ? 1 : 0));
  const factor = new Float64Array(classes * (classes - 1));
  for (let c = 0; c < classes; c++) {
    for (let column = 0; column < classes - 1; column++) {
      const d = column < k ? column : column + 1;
      factor[c * (classes - 1) + column] = u[c]! * ((c === d ? 1 : 0) - (2 * v[c]! * v[d]!) / norm);
    }
  }
  return factor;
}

/**
 * Returns FᵀKF/N for F = blockdiag(F_i) of the factors F_i of the N rows. kernel: (N, C, N, C),
 * factors: N × (C, k) → (N·k, N·k).
 */
function congruence(
  kernel: ArrayLike<number>,
  rows: number,
  classes: number,
  factors: readonly Float64Array[],
  k: number,
): Float64Array {
  const size = rows * classes,
    n = rows * k;
  const half = new Float64Array(size * n); // KF: (N·C, N·k)
  for (let x = 0; x < size; x++) {
    for (let j = 0; j < rows; j++) {
      for (let d = 0; d < classes; d++) {
        const value = kernel[x * size + j * classes + d]!;
        for (let b = 0; b < k; b++) half[x * n + j * k + b]! += value * factors[j]![d * k + b]!;
      }
    }
  }
  const out = new Float64Array(n * n);
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < classes; c++) {
      for (let a = 0; a < k; a++) {
        const weight = factors[i]![c * k + a]! / rows;
        for (let y = 0; y < n; y++)
          out[(i * k + a) * n + y]! += weight * half[(i * classes + c) * n + y]!;
      }
    }
  }
  return out;
}

/**
 * The matrix of the true Fisher information, E_x E_{y~p} g gᵀ: 𝓛ᵀK𝓛/N for 𝓛 = blockdiag(L_i) with
 * L_iL_iᵀ = diag(p_i) − p_ip_iᵀ, where p_i is the softmax of row i. kernel: (N, C, N, C), logits:
 * (N, C).
 */
export function trueFisher(
  kernel: ArrayLike<number>,
  logits: ArrayLike<number>,
  rows: number,
  classes: number,
): SymmetricMatrix {
  const p = softmax(logits, classes);
  const factors = Array.from({ length: rows }, (_, i) =>
    classFactor(p.subarray(i * classes, (i + 1) * classes)),
  );
  // A square L_i (C, C) has rank C − 1, so each row brings one zero eigenvalue, which the factors
  // (C, C − 1) leave out.
  return {
    n: rows * (classes - 1),
    data: congruence(kernel, rows, classes, factors, classes - 1),
    zeros: rows,
  };
}

/**
 * The matrix of the empirical Fisher information of a completion task, E g gᵀ for g = ∇ log
 * p(answer): K/N. Throws RangeError unless K is of one output a row. kernel: (N, 1, N, 1).
 */
export function answersFisher(kernel: ArrayLike<number>, rows: number): SymmetricMatrix {
  if (kernel.length !== rows ** 2)
    throw new RangeError(`a kernel of ${kernel.length} entries doesn't belong to ${rows} answers`);
  return { n: rows, data: Float64Array.from(kernel, (value) => value / rows), zeros: 0 };
}

/**
 * The matrix of the empirical Fisher information, E g gᵀ at the labels. Its entry (i, j) is
 * r_iᵀK_ij r_j/N for the residuals r_i = p_i − onehot(y_i). labels: (N).
 */
function empiricalFisher(
  kernel: ArrayLike<number>,
  logits: ArrayLike<number>,
  labels: readonly number[],
  rows: number,
  classes: number,
): SymmetricMatrix {
  const p = softmax(logits, classes);
  const residuals = Array.from({ length: rows }, (_, i) =>
    p.slice(i * classes, (i + 1) * classes).map((value, c) => value - (labels[i] === c ? 1 : 0)),
  );
  return { n: rows, data: congruence(kernel, rows, classes, residuals, 1), zeros: 0 };
}

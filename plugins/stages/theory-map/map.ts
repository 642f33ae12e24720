/**
 * The map over rank × variance of the paper's Figure 3: entropies of the spectrum of AᵀA in closed
 * form, as published and corrected, from a draw of A, and measured on a model (docs/theory.md,
 * Fisher information). A: (r, d), independent entries of mean 0 and variance σ².
 */
import {
  answersFisher,
  spectrumOf,
  type SpectrumSummary,
  summariseSpectrum,
  trueFisher,
} from '../../../src/science/measures/fisher.ts';
import type { OutputsOf } from '../../../src/science/models/types.ts';
import { drawA } from '../../adapters/lora/init.ts';
import type { Params } from './index.ts';
import type { RankKernels } from './rank-kernels.ts';

interface DrawnMoments {
  readonly rank: number;
  /** Σλ = tr AAᵀ at variance 1; at variance σ² it is σ² times as large. */
  readonly sum: number;
  /** Σλ² = tr (AAᵀ)² at variance 1; at variance σ² it is σ⁴ times as large. */
  readonly sum_squares: number;
}

/**
 * Returns Σλ and Σλ² of AAᵀ at each rank, for one draw of A (r, d).
 * @param ranks ascending; the rows of A at a lower rank are the first rows of A at a higher one, as
 * in training
 * @param width d, A's columns
 */
export function drawnMoments(
  shape: Shape,
  ranks: readonly number[],
  width: number,
  seed: number,
): DrawnMoments[] {
  const most = ranks[ranks.length - 1] ?? 0;
  const A = drawA('theory-map', width, most, shape, 1, seed).data; // (most, d)
  const moments: DrawnMoments[] = [];
  let sum = 0,
    squares = 0;
  for (let i = 0; i < most; i++) {
    // Row and column i of AAᵀ: Σλ² gains (AAᵀ)_ii² and twice each (AAᵀ)_ij², Σλ gains (AAᵀ)_ii.
    for (let j = 0; j <= i; j++) {
      let product = 0;
      for (let k = 0; k < width; k++) product += A[i * width + k]! * A[j * width + k]!;
      squares += (i === j ? 1 : 2) * product ** 2;
      if (i === j) sum += product;
    }
    if (ranks.includes(i + 1)) moments.push({ rank: i + 1, sum, sum_squares: squares });
  }
  return moments;
}

/** The distribution of A's entries. */
export type Shape = 'normal' | 'uniform';

/** What A, (rank, width), is drawn from. */
interface RandomA {
  readonly shape: Shape;
  readonly rank: number;
  readonly width: number;
  readonly variance: number;
}

interface ClosedForm {
  /**
   * log(σ²rd) = log E Σλ. The paper's code also divides by 1 − α = 1e-10; that factor diverges as α
   * → 1 and is left out.
   */
  readonly h1: number;
  /**
   * As published, log σ⁴r(r+2)d or log σ⁴(4r+5r²)d/5: from the squared *diagonal entries* of AᵀA,
   * and without the entropy's sign.
   */
  readonly h2_published: number;
  /** E Σλ². */
  readonly sum_squares: number;
  /** −log E Σλ². */
  readonly h2: number;
}

/** κ = E a⁴/σ⁴ of an entry a. */
const KURTOSIS: Readonly<Record<Shape, number>> = { normal: 3, uniform: 9 / 5 };

/**
 * Returns E Σλ² = E tr (AAᵀ)² = σ⁴rd(d + r − 2 + κ): rd fourth powers of entries, rd(d−1) pairs in
 * a row and rd(r−1) pairs in a column. Gaussian: σ⁴rd(d+r+1); uniform: σ⁴rd(d+r−1/5).
 */
export function expectedSquares({ shape, rank, width, variance }: RandomA): number {
  return variance ** 2 * rank * width * (width + rank - 2 + KURTOSIS[shape]);
}

/** Returns E Σ_j (AᵀA)_jj² = σ⁴d·r(r − 1 + κ), whose logarithm is the published H₂'. */
export function diagonalSquares({ shape, rank, width, variance }: RandomA): number {
  return variance ** 2 * width * rank * (rank - 1 + KURTOSIS[shape]);
}

export function closedForm(A: RandomA): ClosedForm {
  const squares = expectedSquares(A);
  return {
    h1: Math.log(A.variance * A.rank * A.width),
    h2_published: Math.log(diagonalSquares(A)),
    sum_squares: squares,
    h2: -Math.log(squares),
  };
}

/** Entropies of a spectrum at one scale, in nats: log Σλ and −log Σλ². */
interface MapValues {
  readonly h1: number;
  readonly h2: number;
}

/** What the map shows of the Fisher information of the model's outputs, at s = 1. */
interface ModelValues extends MapValues {
  readonly count: number;
  /** ½ Σ log λ; null if every eigenvalue counts as zero. */
  readonly information_bits: number | null;
  /** ½ Σ log(λ/Σλ), which does not change with the scale. */
  readonly information_bits_normalised: number | null;
  /** H₂ of λ/Σλ. */
  readonly h2_normalised: number | null;
}

interface MapPoint {
  readonly distribution: Shape;
  readonly rank: number;
  /** σ²d. */
  readonly scale: number;
  /** At σ² = scale/d with d the map's width. */
  readonly closed: ClosedForm;
  /** From one draw of A, (r, d). */
  readonly drawn: MapValues;
  /** At σ² = scale/d with d each layer's fan-in; null if the rank exceeds a layer's width. */
  readonly model: ModelValues | null;
}

export interface TheoryMap {
  readonly width: number;
  readonly rows: number;
  readonly outputs: OutputsOf;
  /** `true`: the Fisher information of class logits; `empirical`: that of log p(answer). */
  readonly information: 'true' | 'empirical';
  readonly classes: number;
  readonly full: ModelValues;
  readonly points: readonly MapPoint[];
}

function modelValues({ spectrum, renyi, ...summary }: SpectrumSummary): ModelValues {
  const { count, information_bits, information_bits_normalised } = summary;
  return {
    h1: Math.log(spectrum.reduce((a, b) => a + b, 0)),
    h2: -Math.log(spectrum.reduce((a, b) => a + b * b, 0)),
    ...{ count, information_bits, information_bits_normalised },
    h2_normalised: renyi.normalised['2'] ?? null,
  };
}

/** Returns the values of the spectrum whose eigenvalues are c times as large. */
const scaledValues = (values: ModelValues, c: number): ModelValues => ({
  ...values,
  h1: values.h1 + Math.log(c),
  h2: values.h2 - 2 * Math.log(c),
  information_bits:
    values.information_bits === null
      ? null
      : values.information_bits + (values.count / 2) * Math.log(c),
});

/**
 * Returns the map, with a point for each distribution, rank and scale.
 * @param drawn the moments of a drawn A at all ranks, ascending
 * @param model the kernels of the model for `modelRanks`, over N `rows`
 * @param tolerance eigenvalues at or below tolerance · λmax count as zero
 */
export function theoryMap(
  { width, scales, tolerance }: Pick<Params, 'width' | 'scales' | 'tolerance'>,
  drawn: ReadonlyMap<Shape, readonly DrawnMoments[]>,
  model: RankKernels,
  modelRanks: readonly number[],
  rows: number,
): TheoryMap {
  const classes = model.logits.length / rows;
  const information = model.outputs === 'class logits' ? 'true' : 'empirical';
  const summary = (kernel: Float64Array): ModelValues => {
    const matrix =
      information === 'true'
        ? trueFisher(kernel, model.logits, rows, classes)
        : answersFisher(kernel, rows);
    return modelValues(summariseSpectrum(spectrumOf(matrix), { tolerance, alphas: [2] }));
  };
  const points = [...drawn].flatMap(([distribution, moments]) => {
    const measured = new Map(
      modelRanks.map((rank, k) => [rank, summary(model.lora.get(distribution)![k]!)]),
    );
    return moments.flatMap(({ rank, sum, sum_squares: squares }) =>
      scales.map((scale): MapPoint => {
        const variance = scale / width,
          values = measured.get(rank);
        return {
          distribution,
          rank,
          scale,
          closed: closedForm({ shape: distribution, rank, width, variance }),
          drawn: { h1: Math.log(variance * sum), h2: -Math.log(variance ** 2 * squares) },
          model: values === undefined ? null : scaledValues(values, scale),
        };
      }),
    );
  });
  const facts = { width, rows, outputs: model.outputs, information, classes } as const;
  return { ...facts, full: summary(model.full), points };
}

/**
 * The closed-form map of the paper's Figure 3: entropies of the spectrum of AᵀA from rank, fan-in
 * and variance alone, as published and corrected (docs/theory.md, Fisher information). A: (r, d),
 * independent entries of mean 0 and variance σ².
 */

/** The distribution of A's entries. */
export type Shape = 'normal' | 'uniform';

export interface ClosedForm {
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

/** E a⁴/σ⁴. */
const KURTOSIS: Readonly<Record<Shape, number>> = { normal: 3, uniform: 9 / 5 };

/**
 * E Σλ² = E tr (AAᵀ)² = σ⁴rd(d + r − 2 + κ), κ = E a⁴/σ⁴: rd fourth powers of entries, rd(d−1)
 * pairs in a row and rd(r−1) pairs in a column. Gaussian: σ⁴rd(d+r+1); uniform: σ⁴rd(d+r−1/5).
 */
export function expectedSquares(
  shape: Shape,
  rank: number,
  width: number,
  variance: number,
): number {
  return variance ** 2 * rank * width * (width + rank - 2 + KURTOSIS[shape]);
}

/** E Σ_j (AᵀA)_jj² = σ⁴d·r(r − 1 + κ), whose logarithm is the published H₂'. */
export function diagonalSquares(
  shape: Shape,
  rank: number,
  width: number,
  variance: number,
): number {
  return variance ** 2 * width * rank * (rank - 1 + KURTOSIS[shape]);
}

export function closedForm(
  shape: Shape,
  rank: number,
  width: number,
  variance: number,
): ClosedForm {
  const squares = expectedSquares(shape, rank, width, variance);
  return {
    h1: Math.log(variance * rank * width),
    h2_published: Math.log(diagonalSquares(shape, rank, width, variance)),
    sum_squares: squares,
    h2: -Math.log(squares),
  };
}

/**
 * Summaries of a spectrum (docs/theory.md, Fisher information): information bits ½ Σ log λ and
 * Rényi entropies, each raw, as in the paper, and normalised (of λ/Σλ, which scaling the kernel
 * does not change). Natural logarithms.
 */

/** An order of the Rényi entropy; α = 1 is Shannon's, ∞ the min-entropy. */
export type Alpha = number | 'inf';

/** The eigenvalues above tolerance · λmax; empty if λmax is not positive. */
export function counted(spectrum: readonly number[], tolerance: number): number[] {
  const top = spectrum.reduce((a, b) => Math.max(a, b), 0);
  return top > 0 ? spectrum.filter((value) => value > tolerance * top) : [];
}

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** λ/Σλ */
export function normalised(values: readonly number[]): number[] {
  const sum = total(values);
  return values.map((value) => value / sum);
}

/** ½ log pdet F = ½ Σ log λ over positive λ. */
export function informationBits(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + Math.log(value), 0) / 2;
}

/**
 * H_α = 1/(1−α) · log Σ λ^α;  H_∞ = −log λmax;  H_1 = −Σ λ log λ, for Σλ = 1.
 * Null for α = 1 where Σλ ≠ 1: the limit does not exist.
 */
export function renyi(values: readonly number[], alpha: Alpha): number | null {
  if (alpha === 'inf') return -Math.log(values.reduce((a, b) => Math.max(a, b), 0));
  if (alpha === 1) {
    if (Math.abs(total(values) - 1) > 1e-9) return null;
    return -values.reduce((sum, value) => sum + value * Math.log(value), 0);
  }
  return Math.log(total(values.map((value) => value ** alpha))) / (1 - alpha);
}

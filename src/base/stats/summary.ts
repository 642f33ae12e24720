/** Summaries over seeds (docs/theory.md, Verdicts). Pure. */
import tQuantile from '@stdlib/stats-base-dists-t-quantile';

export interface Summary {
  readonly n: number;
  readonly mean: number;
  /** Sample standard deviation (n − 1); 0 if all values are the same, null for n < 2. */
  readonly std: number | null;
  /** 95% Student-t interval of the mean; null for n < 2. */
  readonly low: number | null;
  readonly high: number | null;
}

/**
 * Summarises values. Throws a RangeError if there are none.
 * @param level the confidence level of the interval
 */
export function summarise(values: readonly number[], level = 0.95): Summary {
  const n = values.length;
  if (n === 0) throw new RangeError('a summary needs at least one value');
  const mean = values.reduce((sum, x) => sum + x, 0) / n;
  if (n < 2) return { n, mean, std: null, low: null, high: null };
  const [first = mean] = values;
  if (values.every((x) => x === first)) return { n, mean: first, std: 0, low: first, high: first };
  const std = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1));
  const half = (tQuantile((1 + level) / 2, n - 1) * std) / Math.sqrt(n);
  return { n, mean, std, low: mean - half, high: mean + half };
}

export interface PairedDifference extends Summary {
  /**
   * Cohen's d_z: the mean difference divided by the standard deviation of the differences. Null if
   * that deviation is 0 apart from rounding, or if n < 2.
   */
  readonly effect: number | null;
}

/**
 * Summarises the differences a − b, pair by pair. The caller leaves out incomplete pairs and counts
 * them. Throws a RangeError if the lists differ in length or are empty.
 */
export function pairedDifference(
  a: readonly number[],
  b: readonly number[],
  level = 0.95,
): PairedDifference {
  if (a.length !== b.length)
    throw new RangeError(`pairs need equal lengths, got ${a.length} and ${b.length}`);
  const differences = a.map((x, i) => x - b[i]!);
  // Deviations up to this are rounding, such as that between .9 − .8 and .8 − .7 in double
  // precision.
  const rounding = 1e-12 * Math.max(...a.map(Math.abs), ...b.map(Math.abs));
  const summary = summarise(differences, level),
    { mean, std } = summary;
  if (std === null) return { ...summary, effect: null };
  return std <= rounding
    ? { ...summary, std: 0, low: mean, high: mean, effect: null }
    : { ...summary, effect: mean / std };
}

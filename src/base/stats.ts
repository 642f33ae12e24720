/** Summaries over seeds (docs/theory.md, Verdicts), correlations, and tests of paired outcomes. */
import binomialCdf from '@stdlib/stats-base-dists-binomial-cdf';
import tQuantile from '@stdlib/stats-base-dists-t-quantile';
import { ROUNDING } from './rounding.ts';

export interface Summary {
  readonly n: number;
  readonly mean: number;
  /** Sample standard deviation (n − 1); 0 if values differ by mere rounding, null for n < 2. */
  readonly std: number | null;
  /** Student-t interval of the mean, 95% by default; null for n < 2. */
  readonly low: number | null;
  readonly high: number | null;
}

const largest = (values: readonly number[]): number => Math.max(...values.map(Math.abs));

/**
 * Summarises values. If they differ by no more than rounding, as .9 − .8 and .8 − .7 do in doubles,
 * `std` is 0, and `mean`, `low` and `high` are the first value. Throws a RangeError if there are no
 * values.
 * @param level the confidence level of the interval
 * @param size the largest magnitude of the numbers that the values were computed from: rounding is
 *   relative to it
 */
export function summarise(
  values: readonly number[],
  level = 0.95,
  size = largest(values),
): Summary {
  const n = values.length;
  if (n === 0) throw new RangeError('a summary needs at least one value');
  const mean = values.reduce((sum, x) => sum + x, 0) / n;
  if (n < 2) return { n, mean, std: null, low: null, high: null };
  const [first = mean] = values;
  if (values.every((x) => x === first || Math.abs(x - first) < ROUNDING * size))
    return { n, mean: first, std: 0, low: first, high: first };
  const std = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1));
  const half = (tQuantile((1 + level) / 2, n - 1) * std) / Math.sqrt(n);
  return { n, mean, std, low: mean - half, high: mean + half };
}

export interface PairedDifference extends Summary {
  /** Cohen's d_z, mean / std of the differences; null if std is 0, or n < 2. */
  readonly effect: number | null;
}

/**
 * Summarises a − b, pair by pair. A pair that differs by mere rounding counts as equal. Throws a
 * RangeError if the lists differ in length or are empty.
 */
export function pairedDifference(
  a: readonly number[],
  b: readonly number[],
  level = 0.95,
): PairedDifference {
  if (a.length !== b.length)
    throw new RangeError(`pairs need equal lengths, got ${a.length} and ${b.length}`);
  const differences = a.map((x, i) => {
    const y = b[i]!,
      difference = x - y;
    return Math.abs(difference) < ROUNDING * largest([x, y]) ? 0 : difference;
  });
  const summary = summarise(differences, level, largest([...a, ...b])),
    { mean, std } = summary;
  return { ...summary, effect: std === null || std === 0 ? null : mean / std };
}

/**
 * Returns the rank of each value, from 1. Ties share their mean rank.
 * @param rounding a value also ties with a lower one at a distance below this share of either
 */
export function ranks(values: readonly number[], rounding = 0): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  const rankOf = new Map<number, number>();
  for (let start = 0; start < sorted.length;) {
    const least = sorted[start]!;
    const ties = (value: number): boolean =>
      value === least || value - least < rounding * Math.min(Math.abs(value), Math.abs(least));
    let end = start + 1;
    while (end < sorted.length && ties(sorted[end]!)) end++;
    for (const value of sorted.slice(start, end)) rankOf.set(value, (start + end + 1) / 2);
    start = end;
  }
  return values.map((value) => rankOf.get(value) ?? NaN);
}

/**
 * Returns Spearman's ρ of the pairs (a[i], b[i]). Values that differ by no more than rounding, as
 * .9 − .8 and .8 − .7 do in doubles, tie. Null for fewer than three pairs, or if all values of one
 * list are equal. Throws a RangeError if the lists differ in length.
 */
export function spearman(a: readonly number[], b: readonly number[]): number | null {
  const r = pearson(ranks(a, ROUNDING), ranks(b, ROUNDING));
  return a.length < 3 ? null : r;
}

/**
 * Returns Pearson's r of the pairs (a[i], b[i]). Null for fewer than two pairs, or if all values of
 * one list are equal. Throws a RangeError if the lists differ in length.
 */
export function pearson(a: readonly number[], b: readonly number[]): number | null {
  if (a.length !== b.length)
    throw new RangeError(`pairs need equal lengths, got ${a.length} and ${b.length}`);
  if (a.length < 2) return null;
  const isConstant = (values: readonly number[]): boolean =>
    values.every((value) => value === values[0]);
  if (isConstant(a) || isConstant(b)) return null;
  const meanA = mean(a),
    meanB = mean(b);
  let products = 0,
    squaresA = 0,
    squaresB = 0;
  b.forEach((y, i) => {
    const fromA = (a[i] ?? NaN) - meanA,
      fromB = y - meanB;
    products += fromA * fromB;
    squaresA += fromA ** 2;
    squaresB += fromB ** 2;
  });
  return products / Math.sqrt(squaresA * squaresB);
}

/** Returns the mean; NaN for no values. */
export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Returns the mean of the values that are known; null if none is. */
export function meanOfKnown(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : mean(known);
}

/** A p-value below this counts as evidence that two outcomes of the same rows differ. */
export const SIGNIFICANCE = 0.05;

interface PairedOutcomes {
  /** The numbers of rows with only the first outcome, and with only the second. */
  readonly onlyFirst: number;
  readonly onlySecond: number;
  /** The share of rows with the first outcome minus the share with the second. */
  readonly difference: number;
  /**
   * The two-sided p-value of the hypothesis of no difference. Under it, each row with only one of
   * the outcomes is a fair coin toss, so p = min(1, 2·P[Binomial(b + c, ½) ≤ min(b, c)]) with b =
   * `onlyFirst` and c = `onlySecond`. It is 1 if both are 0.
   */
  readonly p: number;
}

/**
 * Compares two outcomes of the same rows (McNemar 1947). Throws RangeError if the lists are empty
 * or differ in length.
 */
export function pairedOutcomes(
  first: readonly boolean[],
  second: readonly boolean[],
): PairedOutcomes {
  if (first.length !== second.length || first.length === 0)
    throw new RangeError(
      `outcomes come in pairs, at least one; got ${first.length} and ${second.length}`,
    );
  let onlyFirst = 0,
    onlySecond = 0;
  first.forEach((outcome, i) => {
    if (outcome && !second[i]) onlyFirst++;
    else if (!outcome && second[i]) onlySecond++;
  });
  return {
    onlyFirst,
    onlySecond,
    difference: (onlyFirst - onlySecond) / first.length,
    p: signTest(onlyFirst, onlySecond),
  };
}

/** Returns the two-sided p-value of so many heads and tails of a fair coin; 1 for no toss. */
export const signTest = (heads: number, tails: number): number =>
  heads + tails === 0
    ? 1
    : Math.min(1, 2 * binomialCdf(Math.min(heads, tails), heads + tails, 0.5));

/**
 * Numbers of items, (2, 2). Row: the first rater's answer, no or yes. Column: the second rater's.
 */
export type Confusion = readonly [readonly [number, number], readonly [number, number]];

/** Counts how two raters judged the same items, without items that one left undecided (null). */
export function countConfusion(
  first: readonly (boolean | null)[],
  second: readonly (boolean | null)[],
): Confusion {
  const counts: [[number, number], [number, number]] = [
    [0, 0],
    [0, 0],
  ];
  first.forEach((a, i) => {
    const b = second[i] ?? null;
    if (a !== null && b !== null) counts[a ? 1 : 0][b ? 1 : 0]++;
  });
  return counts;
}

/**
 * Returns Cohen's κ of two raters (Cohen 1960): (pₒ − pₑ) / (1 − pₑ), with pₒ the observed share of
 * agreement, pₑ = Σₖ p₁(k) p₂(k) the share expected of independent raters, pᵢ(k) the share of items
 * to which rater i gives the answer k. Null if both raters give one and the same answer to all
 * items, or there are no items.
 */
export function cohenKappa([[nn, ny], [yn, yy]]: Confusion): number | null {
  const n = nn + ny + yn + yy;
  return kappa(n * (nn + yy), (yn + yy) * (ny + yy) + (nn + ny) * (nn + yn), n * n);
}

/**
 * Returns Fleiss' κ of k raters who say yes or no (Fleiss 1971): (pₒ − pₑ) / (1 − pₑ), with pₒ the
 * share of pairs of raters who agree, pₑ = p(yes)² + p(no)², p(yes) and p(no) the shares of all
 * answers. Null if all answers are the same, or there are no items.
 * @param counts (k + 1): `counts[j]` is the number of items to which j of the k raters said yes
 */
export function fleissKappa(counts: readonly number[]): number | null {
  const k = counts.length - 1,
    n = counts.reduce((sum, count) => sum + count, 0);
  /** Returns the sum over items of `value(yes)`, with `yes` the number of raters who said yes. */
  const sumOverItems = (value: (yes: number) => number): number =>
    counts.reduce((sum, count, yes) => sum + count * value(yes), 0);
  const yeses = sumOverItems((yes) => yes),
    pairs = sumOverItems((yes) => yes * (yes - 1) + (k - yes) * (k - yes - 1)),
    all = n * k;
  return kappa(all * pairs, (yeses ** 2 + (all - yeses) ** 2) * (k - 1), all ** 2 * (k - 1));
}

/**
 * Returns (pₒ − pₑ) / (1 − pₑ), null if pₑ is 1 or there are no items. Both shares are given as
 * whole numbers, pₒ·`all` and pₑ·`all`, so that κ is exactly 0 if raters agree as often as by
 * chance.
 */
const kappa = (observed: number, expected: number, all: number): number | null =>
  expected === all ? null : (observed - expected) / (all - expected);

/** Φ⁻¹(.975), the normal quantile of a 95% interval. */
const Z = 1.959963984540054;

export interface CorrectedRate {
  readonly rate: number;
  /** 95% interval, which covers the sampling errors of the rate and of the judge's Se and Sp. */
  readonly low: number;
  readonly high: number;
}

/**
 * Corrects the rate r = hits / n for the errors of the judge that counted it: (r + Sp − 1) / (Se +
 * Sp − 1), cut to [0, 1] (Rogan & Gladen 1978), with the interval of Lang & Reiczigel (2014, Prev.
 * Vet. Med. 113, equations 6, 7, 16 and 17). Se is the judge's sensitivity, Sp its specificity.
 * Null if Se + Sp ≤ 1: the judge tells nothing. Also null if Se + Sp ≤ 1 once one success and one
 * failure are added to the counts of both: there are too few labels to show that the judge tells
 * anything.
 * @param hits the number of the n judged items that the judge counted
 * @param measured the judge's no and yes (rows) against the true no and yes (columns); neither
 *   column may be empty
 */
export function correctedRate(
  hits: number,
  n: number,
  [[trueNo, missed], [falseYes, found]]: Confusion,
): CorrectedRate | null {
  const positives = found + missed,
    negatives = trueNo + falseYes;
  /** Returns the corrected rate, which may lie outside [0, 1]; `cut` cuts it. */
  const corrected = (rate: number, se: number, sp: number): number =>
    (rate + sp - 1) / (se + sp - 1);
  const [se, sp] = [found / positives, trueNo / negatives];
  // The primed quantities of Lang & Reiczigel: one success and one failure are added for Se and Sp,
  // and Z² trials, half of them hits, for the rate.
  const [nSe, nSp, nRate] = [positives + 2, negatives + 2, n + Z ** 2],
    [seA, spA, rateA] = [(found + 1) / nSe, (trueNo + 1) / nSp, (hits + Z ** 2 / 2) / nRate];
  if (!(se + sp > 1) || seA + spA <= 1) return null;
  const centre = corrected(rateA, seA, spA),
    varianceSe = (seA * (1 - seA)) / nSe,
    varianceSp = (spA * (1 - spA)) / nSp;
  const shift = 2 * Z ** 2 * (centre * varianceSe - (1 - centre) * varianceSp);
  const spread =
    (rateA * (1 - rateA)) / nRate + centre ** 2 * varianceSe + (1 - centre) ** 2 * varianceSp;
  const half = (Z * Math.sqrt(spread)) / (seA + spA - 1);
  const cut = (rate: number): number => Math.min(1, Math.max(0, rate));
  return {
    rate: cut(corrected(hits / n, se, sp)),
    low: cut(centre + shift - half),
    high: cut(centre + shift + half),
  };
}

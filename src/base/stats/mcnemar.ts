/** McNemar's exact test (McNemar 1947) of whether two outcomes of the same rows differ. Pure. */
import binomialCdf from '@stdlib/stats-base-dists-binomial-cdf';

/**
 * A p-value below this counts as evidence of a difference between two outcomes of the same rows.
 */
export const SIGNIFICANCE = 0.05;

/** How two outcomes of the same rows compare. */
export interface PairedOutcomes {
  /** The numbers of rows with only the first outcome, and with only the second. */
  readonly onlyFirst: number;
  readonly onlySecond: number;
  /** The share of rows with the first outcome minus the share with the second. */
  readonly difference: number;
  /**
   * The two-sided p-value of the hypothesis of no difference. Under it, each discordant row is a
   * fair coin toss, so p = min(1, 2·P[Binomial(b + c, ½) ≤ min(b, c)]). It is 1 if no row is
   * discordant.
   */
  readonly p: number;
}

/**
 * Compares two outcomes row by row. Throws a RangeError if the lists are empty or differ in length.
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
  const discordant = onlyFirst + onlySecond;
  return {
    onlyFirst,
    onlySecond,
    difference: (onlyFirst - onlySecond) / first.length,
    p:
      discordant === 0
        ? 1
        : Math.min(1, 2 * binomialCdf(Math.min(onlyFirst, onlySecond), discordant, 0.5)),
  };
}

/**
 * Thresholds from clean held-out rows. Scores are larger for what is more suspicious, and whatever
 * reaches the threshold is rejected. Pure.
 */

/** Returns the least double above x. Infinity has none above it. */
function nextAbove(x: number): number {
  if (!Number.isFinite(x)) return x;
  const value = new Float64Array([x === 0 ? 0 : x]), // −0 → 0
    bits = new BigInt64Array(value.buffer);
  bits[0]! += x < 0 ? -1n : 1n;
  return value[0]!;
}

/**
 * Returns the least threshold at which at most ⌊rate·n⌋ of the n clean scores are rejected, that is,
 * reach it. Equal scores are rejected together or not at all, so fewer may be. This bounds the false
 * rejection rate on the rows given, and estimates it on others: with n < 1/rate rows none of them is
 * rejected, and the threshold is just above the largest score.
 * @throws RangeError where there is no score, a score is NaN, or the rate is not in [0, 1)
 */
export function rejectionThreshold(cleanScores: ArrayLike<number>, rate: number): number {
  const scores = Float64Array.from(cleanScores).sort();
  if (scores.length === 0) throw new RangeError('a threshold needs at least one clean score');
  if (scores.some(Number.isNaN)) throw new RangeError('a clean score is NaN');
  if (!(rate >= 0 && rate < 1))
    throw new RangeError(`a false rejection rate is in [0, 1), got ${rate}`);
  return nextAbove(scores[scores.length - 1 - Math.floor(rate * scores.length)]!);
}

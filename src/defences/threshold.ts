/** A higher score is more suspicious; a row is rejected if its score is at least the threshold. */
import type { Judgement, Row } from '../api.ts';
import { flooredShare } from '../base/rounding.ts';

/** Returns the smallest double above x, a number that is not NaN; ∞ for ∞. */
function nextAbove(x: number): number {
  if (x === Infinity) return x;
  const value = new Float64Array([x === 0 ? 0 : x]), // −0 → 0
    bits = new BigInt64Array(value.buffer);
  bits[0]! += x < 0 ? -1n : 1n;
  return value[0]!;
}

/**
 * Returns the smallest threshold that at most ⌊rate·n⌋ of the n clean scores reach. If n < 1/rate,
 * none of them reaches it: the threshold is just above the largest score.
 * @throws RangeError where there is no score, a score is NaN, or the rate is not in [0, 1)
 */
export function rejectionThreshold(cleanScores: ArrayLike<number>, rate: number): number {
  const scores = Float64Array.from(cleanScores).sort();
  if (scores.length === 0) throw new RangeError('a threshold needs at least one clean score');
  if (scores.some(Number.isNaN)) throw new RangeError('a clean score is NaN');
  if (!(rate >= 0 && rate < 1))
    throw new RangeError(`a false rejection rate is in [0, 1), got ${rate}`);
  const reaching = flooredShare(rate, scores.length);
  return nextAbove(scores[Math.max(0, scores.length - 1 - reaching)]!);
}

/**
 * Returns the judgement that drops the suspected rows and leaves the others as they are.
 * @param suspected for each row, whether it is dropped, whatever its score
 */
export const droppingSuspects = (
  rows: readonly Row[],
  scores: readonly number[],
  suspected: readonly boolean[],
): Judgement => ({
  scores,
  suspected,
  rows: rows.map((row, i) => (suspected[i] === true ? null : row)),
});

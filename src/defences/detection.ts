/** Measures how well a defence tells poisoned examples (positives) from clean ones. */
import { ranks } from '../base/stats.ts';

/** How rejected and poisoned examples overlap. A rate is null if its denominator is zero. */
interface DetectionMetrics {
  /** The number of poisoned examples that were rejected, TP; those below are FP, FN and TN. */
  readonly truePositives: number;
  readonly falsePositives: number;
  readonly falseNegatives: number;
  readonly trueNegatives: number;
  /** TP / (TP + FP): the poisoned share of what was rejected. Null too if nothing is poisoned. */
  readonly precision: number | null;
  /** TP / (TP + FN): the rejected share of what is poisoned. */
  readonly recall: number | null;
  /** False rejection rate, FP / (FP + TN): the rejected share of what is clean. */
  readonly frr: number | null;
  /** False acceptance rate, FN / (TP + FN) = 1 − recall: the accepted share of what is poisoned. */
  readonly far: number | null;
}

/** Returns part / whole; null if `whole` is zero. */
const share = (part: number, whole: number): number | null => (whole === 0 ? null : part / whole);

/** Throws a RangeError if the two lists, one value for each example, differ in length. */
function checkSameLength(a: ArrayLike<unknown>, b: ArrayLike<unknown>): void {
  if (a.length !== b.length)
    throw new RangeError(`each example needs one value, got ${a.length} and ${b.length}`);
}

/**
 * Compares what was rejected with what is poisoned, by example. Throws a RangeError if the lengths
 * differ.
 */
export function detectionMetrics(
  rejected: readonly boolean[],
  poisoned: readonly boolean[],
): DetectionMetrics {
  checkSameLength(rejected, poisoned);
  const count = (r: boolean, p: boolean): number =>
    rejected.filter((value, i) => value === r && poisoned[i] === p).length;
  const truePositives = count(true, true),
    falsePositives = count(true, false),
    falseNegatives = count(false, true),
    trueNegatives = count(false, false);
  return {
    truePositives,
    falsePositives,
    falseNegatives,
    trueNegatives,
    // Where nothing is poisoned, 0 would blame the defence for what no choice of rows can change.
    precision: poisoned.includes(true)
      ? share(truePositives, truePositives + falsePositives)
      : null,
    recall: share(truePositives, truePositives + falseNegatives),
    frr: share(falsePositives, falsePositives + trueNegatives),
    far: share(falseNegatives, truePositives + falseNegatives),
  };
}

/**
 * Counts the poisoned examples (`positives`) and the clean ones (`negatives`). Throws a RangeError
 * if the lengths differ or a score is NaN.
 */
function countKinds(scores: readonly number[], poisoned: readonly boolean[]) {
  checkSameLength(scores, poisoned);
  if (scores.some(Number.isNaN)) throw new RangeError('a score is NaN');
  const positives = poisoned.filter(Boolean).length;
  return { positives, negatives: poisoned.length - positives };
}

/**
 * Returns the area under the ROC curve: the probability that a poisoned example has a higher score
 * than a clean one, ties counting one half (Mann–Whitney; Fawcett 2006). Null where no example or
 * every example is poisoned. Throws a RangeError if the lengths differ or a score is NaN.
 * @param scores higher for what is more suspicious; may be infinite
 */
export function auroc(scores: readonly number[], poisoned: readonly boolean[]): number | null {
  const { positives, negatives } = countKinds(scores, poisoned);
  if (positives === 0 || negatives === 0) return null;
  const ranked = ranks(scores);
  const sum = ranked.reduce((total, rank, i) => total + (poisoned[i] === true ? rank : 0), 0);
  return (sum - (positives * (positives + 1)) / 2) / (positives * negatives);
}

/** A point of a ROC curve: the rates where every score of at least `threshold` is rejected. */
interface RocPoint {
  /** Infinity at the first point, where nothing is rejected. */
  readonly threshold: number;
  readonly falsePositiveRate: number;
  readonly truePositiveRate: number;
}

/**
 * Returns the ROC curve from (0, 0) to (1, 1). After the first point, it has one for each distinct
 * score, the highest score first. Empty where no example or every example is poisoned. Throws a
 * RangeError as `auroc` does.
 */
export function rocCurve(scores: readonly number[], poisoned: readonly boolean[]): RocPoint[] {
  const { positives, negatives } = countKinds(scores, poisoned);
  if (positives === 0 || negatives === 0) return [];
  const order = scores.map((_, i) => i).sort((a, b) => descending(scores[a]!, scores[b]!));
  const points: RocPoint[] = [{ threshold: Infinity, falsePositiveRate: 0, truePositiveRate: 0 }];
  let hits = 0;
  order.forEach((i, k) => {
    if (poisoned[i] === true) hits++;
    const threshold = scores[i]!,
      next = order[k + 1];
    if (next === undefined || scores[next] !== threshold)
      points.push({
        threshold,
        falsePositiveRate: (k + 1 - hits) / negatives,
        truePositiveRate: hits / positives,
      });
  });
  return points;
}

/**
 * The order of a sort with larger numbers first. It compares without subtracting, because ∞ − ∞ is
 * NaN.
 */
const descending = (a: number, b: number): number => (a === b ? 0 : a < b ? 1 : -1);

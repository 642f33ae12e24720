/** Spearman's rank correlation. Pure. */
import { pearson } from './pearson.ts';

/** Returns the rank of each value, from 1. Ties share their mean rank. */
export function ranks(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  const rankOf = new Map<number, number>();
  for (let start = 0; start < sorted.length;) {
    const value = sorted[start]!;
    let end = start + 1;
    while (sorted[end] === value) end++;
    rankOf.set(value, (start + end + 1) / 2);
    start = end;
  }
  return values.map((value) => rankOf.get(value) ?? NaN);
}

/**
 * Returns Spearman's ρ of the pairs (a[i], b[i]). Null for fewer than three pairs, or if all values
 * of one list are equal. Throws a RangeError if the lists differ in length.
 */
export function spearman(a: readonly number[], b: readonly number[]): number | null {
  const r = pearson(ranks(a), ranks(b));
  return a.length < 3 ? null : r;
}

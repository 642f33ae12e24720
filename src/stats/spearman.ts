/** Spearman's rank correlation. Pure. */

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
  if (a.length !== b.length)
    throw new RangeError(`pairs need equal lengths, got ${a.length} and ${b.length}`);
  if (a.length < 3) return null;
  const x = ranks(a),
    y = ranks(b),
    middle = (a.length + 1) / 2;
  let product = 0,
    ofX = 0,
    ofY = 0;
  x.forEach((rank, i) => {
    const fromMiddle = y[i]! - middle;
    product += (rank - middle) * fromMiddle;
    ofX += (rank - middle) ** 2;
    ofY += fromMiddle ** 2;
  });
  return ofX === 0 || ofY === 0 ? null : product / Math.sqrt(ofX * ofY);
}

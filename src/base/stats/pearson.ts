/** Pearson's correlation. Pure. */

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
  let product = 0,
    ofA = 0,
    ofB = 0;
  b.forEach((y, i) => {
    const fromA = (a[i] ?? NaN) - meanA,
      fromB = y - meanB;
    product += fromA * fromB;
    ofA += fromA ** 2;
    ofB += fromB ** 2;
  });
  return product / Math.sqrt(ofA * ofB);
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

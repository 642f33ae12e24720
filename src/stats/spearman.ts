/** Spearman's rank correlation. Pure. */

/** Ranks from 1; ties share their mean rank. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const out = new Array<number>(values.length);
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let k = start; k < end; k++) out[order[k]!] = (start + end + 1) / 2;
    start = end;
  }
  return out;
}

/** ρ of pairs; null for fewer than three, or where either side is all ties. */
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
    product += (rank - middle) * (y[i]! - middle);
    ofX += (rank - middle) ** 2;
    ofY += (y[i]! - middle) ** 2;
  });
  return ofX === 0 || ofY === 0 ? null : product / Math.sqrt(ofX * ofY);
}

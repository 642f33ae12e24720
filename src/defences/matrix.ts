/** Rows of numbers, such as the representations of texts, as one matrix. */

/** N rows of d numbers, row-major. */
export interface Representations {
  readonly values: Float64Array; // (N·d)
  readonly count: number;
  readonly dimensions: number;
}

/** Throws a RangeError unless the values are N × d finite numbers. */
export function checkRepresentations({ values, count, dimensions }: Representations): void {
  if (values.length !== count * dimensions || !values.every(Number.isFinite))
    throw new RangeError(`representations of ${count} × ${dimensions} finite numbers are needed`);
}

/** Returns the mean of some rows, (d). */
export function meanOf(
  { values, dimensions: d }: Representations,
  rows: readonly number[],
): Float64Array {
  const mean = new Float64Array(d);
  for (const row of rows)
    for (let j = 0; j < d; j++) mean[j]! += values[row * d + j]! / rows.length;
  return mean;
}

/** Returns some rows minus `centre`, transposed: (d, rows). */
export function centredColumns(
  { values, dimensions: d }: Representations,
  rows: readonly number[],
  centre: Float64Array,
): Float64Array {
  const n = rows.length,
    out = new Float64Array(d * n);
  rows.forEach((row, i) => {
    for (let j = 0; j < d; j++) out[j * n + i] = values[row * d + j]! - centre[j]!;
  });
  return out;
}

/** Returns softmax of each row. logits: (N, C), row-major → (N, C). */
export function softmaxRows(logits: ArrayLike<number>, classes: number): Float64Array {
  const out = new Float64Array(logits.length);
  for (let from = 0; from < logits.length; from += classes) {
    let most = -Infinity,
      total = 0;
    for (let i = from; i < from + classes; i++) most = Math.max(most, logits[i]!);
    for (let i = from; i < from + classes; i++) total += out[i] = Math.exp(logits[i]! - most);
    for (let i = from; i < from + classes; i++) out[i]! /= total;
  }
  return out;
}

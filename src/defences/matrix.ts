/** N rows (`count`) of d numbers (`dimensions`), row-major. */
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

/**
 * Returns the indexes of the rows with each label, by label. The labels are in the order in which
 * they first occur.
 */
export function indexesByLabel(labels: readonly number[]): Map<number, number[]> {
  const indexes = new Map<number, number[]>(labels.map((label) => [label, []]));
  labels.forEach((label, i) => indexes.get(label)!.push(i));
  return indexes;
}

export function rowsAt(
  { values, dimensions: d }: Representations,
  indexes: readonly number[],
): Representations {
  const chosen = new Float64Array(indexes.length * d);
  indexes.forEach((row, i) => {
    chosen.set(values.subarray(row * d, (row + 1) * d), i * d);
  });
  return { values: chosen, count: indexes.length, dimensions: d };
}

/** Returns the mean of the rows, (d), and the rows minus their mean, transposed: (d, N). */
export function centred({ values, count: n, dimensions: d }: Representations): {
  readonly mean: Float64Array;
  readonly columns: Float64Array;
} {
  const mean = new Float64Array(d),
    columns = new Float64Array(d * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < d; j++) mean[j]! += values[i * d + j]! / n;
  for (let i = 0; i < n; i++)
    for (let j = 0; j < d; j++) columns[j * n + i] = values[i * d + j]! - mean[j]!;
  return { mean, columns };
}

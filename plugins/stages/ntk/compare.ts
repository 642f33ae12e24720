/** Comparisons of two kernels of the same rows (docs/theory.md, The kernel regime). */

/** ⟨K, K'⟩_F / (‖K‖_F ‖K'‖_F) */
export function cosine(a: Float64Array, b: Float64Array): number {
  let product = 0,
    ofA = 0,
    ofB = 0;
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!;
    ofA += a[i]! ** 2;
    ofB += b[i]! ** 2;
  }
  return product / Math.sqrt(ofA * ofB);
}

/** ‖K(t) − K(0)‖_F / ‖K(0)‖_F */
export function drift(now: Float64Array, start: Float64Array): number {
  let difference = 0,
    norm = 0;
  for (let i = 0; i < start.length; i++) {
    difference += (now[i]! - start[i]!) ** 2;
    norm += start[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Mean over rows of the trace over classes, Σ_c K[(i,c),(i,c)]. kernel: (N, C, N, C) */
export function meanTrace(kernel: Float64Array, rows: number, classes: number): number {
  const size = rows * classes;
  let sum = 0;
  for (let x = 0; x < size; x++) sum += kernel[x * size + x]!;
  return sum / rows;
}

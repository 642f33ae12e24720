/**
 * Computes the left singular vectors of only the largest singular values, in double precision. On
 * TensorFlow they come from the eigenvectors of the smaller Gram matrix, at a fifth of the cost of
 * a whole decomposition; squaring loses precision among the small singular values only.
 */
import { svd } from './svd.ts';
import { tensorflowGramVectors } from './tensorflow.ts';

/**
 * A singular value below this share of the largest is not left to the Gram matrix, whose
 * eigenvalues are squares: there, its square would be too close to rounding.
 */
const DEEP = 1e-6;

/**
 * @param matrix row-major (m, n)
 * @returns (m, k), one vector per column, that of the largest singular value first; k = min(count,
 * m, n)
 */
export function leadingLeftVectors(
  matrix: Float64Array,
  m: number,
  n: number,
  count: number,
): Float64Array {
  const k = Math.min(count, m, n);
  const solve = tensorflowGramVectors();
  if (solve !== null) {
    // of W Wᵀ or Wᵀ W: ascending (q), (q, q), q = min(m, n)
    const { values, vectors } = solve(matrix, m, n);
    const q = values.length;
    if (values[q - k]! > DEEP ** 2 * values[q - 1]!) {
      return m <= n
        ? columns(vectors, q, k)
        : normalised(times(matrix, columns(vectors, q, k), m, n, k), m, k);
    }
  }
  const { left } = svd(matrix, m, n);
  const width = Math.min(m, n);
  return Float64Array.from(
    { length: m * k },
    (_, at) => left![Math.floor(at / k) * width + (at % k)]!,
  );
}

/** The last k of ascending columns, in descending order. (q, q) → (q, k) */
const columns = (vectors: Float64Array, q: number, k: number): Float64Array =>
  Float64Array.from(
    { length: q * k },
    (_, at) => vectors[Math.floor(at / k) * q + q - 1 - (at % k)]!,
  );

/** W V = U Σ. (m, n), (n, k) → (m, k) */
function times(W: Float64Array, V: Float64Array, m: number, n: number, k: number): Float64Array {
  const out = new Float64Array(m * k);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      const w = W[i * n + j]!;
      for (let c = 0; c < k; c++) out[i * k + c]! += w * V[j * k + c]!;
    }
  return out;
}

function normalised(U: Float64Array, m: number, k: number): Float64Array {
  for (let c = 0; c < k; c++) {
    let norm = 0;
    for (let i = 0; i < m; i++) norm += U[i * k + c]! ** 2;
    for (let i = 0; i < m; i++) U[i * k + c]! /= Math.sqrt(norm);
  }
  return U;
}

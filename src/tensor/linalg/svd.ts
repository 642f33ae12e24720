/**
 * Singular values and left singular vectors in double precision, by an existing solver:
 * TensorFlow's on the TensorFlow backend, ml-matrix's elsewhere. The product of two thin factors is
 * decomposed through their QR factors and is never written out.
 */
import { Matrix, QrDecomposition, SVD } from 'ml-matrix';
import { tensorflowSvd } from './tensorflow.ts';

export interface Singular {
  /** min(m, n), descending. */
  readonly values: Float64Array;
  /**
   * (m, min(m, n)), row-major, one vector per column; null where the vectors were not asked for.
   */
  readonly left: Float64Array | null;
}

/** A solver for a row-major (m, n) matrix. */
export type SingularSolver = (
  matrix: Float64Array,
  m: number,
  n: number,
  vectors: boolean,
) => Singular;

/** Golub–Kahan, in JavaScript (LINPACK's dsvdc, by way of JAMA). */
const javascriptSvd: SingularSolver = (matrix, m, n, vectors) => {
  const { diagonal, leftSingularVectors: U } = new SVD(
    Matrix.from1DArray(m, n, Array.from(matrix)),
    {
      computeLeftSingularVectors: vectors,
      computeRightSingularVectors: false,
      autoTranspose: true,
    },
  );
  const k = Math.min(m, n);
  return {
    values: Float64Array.from(diagonal.slice(0, k)),
    left: vectors
      ? Float64Array.from({ length: m * k }, (_, at) => U.get(Math.floor(at / k), at % k))
      : null,
  };
};

/**
 * @param matrix row-major (m, n)
 * @throws RangeError for a matrix that is not m × n or not finite
 */
export function svd(matrix: Float64Array, m: number, n: number, vectors = true): Singular {
  if (matrix.length !== m * n)
    throw new RangeError(`${matrix.length} values do not form a ${m} × ${n} matrix`);
  if (!matrix.every(Number.isFinite))
    throw new RangeError('a matrix with infinite or missing entries has no singular values');
  return (tensorflowSvd() ?? javascriptSvd)(matrix, m, n, vectors);
}

/** Returns the singular values only, descending. */
export const singularValues = (matrix: Float64Array, m: number, n: number): Float64Array =>
  svd(matrix, m, n, false).values;

/** R of a thin QR. columns: k vectors of length m, (m, k) row-major, k ≤ m → (k, k). */
function triangle(columns: Float64Array, m: number, k: number): Matrix {
  return new QrDecomposition(Matrix.from1DArray(m, k, Array.from(columns))).upperTriangularMatrix;
}

/**
 * The k singular values of P Qᵀ that can differ from zero, descending: those of R_P R_Qᵀ, for P = O
 * R_P and Q = O' R_Q.
 * @param P (m, k), row-major, k ≤ m
 * @param Q (n, k), row-major, k ≤ n
 */
export function lowRankSingularValues(
  P: Float64Array,
  Q: Float64Array,
  m: number,
  n: number,
  k: number,
): Float64Array {
  if (P.length !== m * k || Q.length !== n * k || k > Math.min(m, n))
    throw new RangeError(
      `factors of ${P.length} and ${Q.length} values are not ${m} × ${k} and ${n} × ${k}`,
    );
  const core = triangle(P, m, k).mmul(triangle(Q, n, k).transpose()); // (k, k)
  return singularValues(Float64Array.from(core.to1DArray()), k, k);
}

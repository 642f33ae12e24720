/**
 * Eigenvalues of a symmetric matrix in double precision, by an existing solver: TensorFlow's on the
 * TensorFlow backend, ml-matrix's elsewhere. The two agree to rounding: |Δλ| ≲ n·ε·λmax for both.
 */
import { EigenvalueDecomposition } from 'ml-matrix';
import { tensorflowEigenvalues } from './tensorflow.ts';

/** A solver: a symmetric row-major (n, n) matrix → its n eigenvalues in any order. */
export type EigenSolver = (matrix: Float64Array, n: number) => Float64Array;

/**
 * Householder tridiagonalisation and implicit QL, in JavaScript (EISPACK's tred2 and tql2, by way
 * of JAMA).
 */
const javascriptEigenvalues: EigenSolver = (matrix, n) => {
  const rows = Array.from({ length: n }, (_, i) => matrix.subarray(i * n, (i + 1) * n));
  return Float64Array.from(
    new EigenvalueDecomposition(rows, { assumeSymmetric: true }).realEigenvalues,
  );
};

/**
 * Returns the eigenvalues of the matrix's symmetric part, descending.
 * @param matrix row-major (n, n)
 * @throws RangeError for a matrix that is not n × n or not finite
 */
export function symmetricEigenvalues(matrix: Float64Array, n: number): Float64Array {
  if (matrix.length !== n * n)
    throw new RangeError(`${matrix.length} values do not form a ${n} × ${n} matrix`);
  if (!matrix.every(Number.isFinite))
    throw new RangeError('a matrix with infinite or missing entries has no eigenvalues');
  if (n === 0) return new Float64Array(0);
  const symmetric = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      symmetric[i * n + j] = (matrix[i * n + j]! + matrix[j * n + i]!) / 2;
  const solve = tensorflowEigenvalues() ?? javascriptEigenvalues;
  return solve(symmetric, n).sort().reverse();
}

/**
 * Singular values and vectors, and eigenvalues of symmetric matrices, in double precision, by
 * existing solvers: TensorFlow's on the TensorFlow backend, ml-matrix's elsewhere. The two solvers
 * agree to rounding: the error of an eigenvalue of an (n, n) matrix is |Δλ| ≲ n·ε·λmax in both.
 * tfjs has no double tensors, but its binding passes any type between operations, so doubles go in
 * and out as pairs of int32 through Bitcast.
 */
import { EigenvalueDecomposition, Matrix, QrDecomposition, SVD } from 'ml-matrix';
import { hasOperations, tensorflowBackend } from './operation.ts';

/** DT_DOUBLE of TensorFlow's types.proto. */
const DT_DOUBLE = 2;

/** What is used of tfjs-node's binding. */
interface Binding {
  readonly TF_INT32: number;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_BOOL: number;
  createTensor(shape: number[], dtype: number, values: Int32Array): number;
  deleteTensor(id: number): void;
  executeOp(
    name: string,
    attributes: { name: string; type: number; value: number | boolean }[],
    inputs: number[],
    outputs: number,
  ): { id: number }[];
  tensorDataSync(id: number): ArrayBufferView;
}

/**
 * Runs an operation of doubles whose inputs are `times` copies of one row-major (m, n) matrix.
 * Returns those of its `outputs` outputs whose indexes are in `read`.
 */
function runDouble(
  name: string,
  flags: Readonly<Record<string, boolean>>,
  matrix: Float64Array,
  [m, n]: readonly [number, number],
  outputs: number,
  read: readonly number[],
  times = 1,
): Float64Array[] {
  const binding = tensorflowBackend().binding as unknown as Binding;
  const type = (key: string, value: number) => ({ name: key, type: binding.TF_ATTR_TYPE, value });
  const held: number[] = [];
  const hold = (id: number): number => {
    held.push(id);
    return id;
  };
  const bitcast = (input: number, from: number, to: number): number =>
    hold(binding.executeOp('Bitcast', [type('T', from), type('type', to)], [input], 1)[0]!.id);
  try {
    const words = new Int32Array(matrix.buffer, matrix.byteOffset, 2 * m * n);
    const doubles = bitcast(
      hold(binding.createTensor([m, n, 2], binding.TF_INT32, words)),
      binding.TF_INT32,
      DT_DOUBLE,
    ); // (m, n) double
    const attributes = Object.entries(flags).map(([key, value]) => ({
      name: key,
      type: binding.TF_ATTR_BOOL,
      value,
    }));
    const inputs = new Array<number>(times).fill(doubles);
    const results = binding.executeOp(name, [...attributes, type('T', DT_DOUBLE)], inputs, outputs);
    held.push(...results.map(({ id }) => id));
    return read.map((k) => {
      // (…, 2) int32
      const out = binding.tensorDataSync(bitcast(results[k]!.id, DT_DOUBLE, binding.TF_INT32));
      return new Float64Array(out.buffer.slice(out.byteOffset, out.byteOffset + out.byteLength));
    });
  } finally {
    for (const id of held) binding.deleteTensor(id);
  }
}

export interface Singular {
  /** The min(m, n) singular values, descending. */
  readonly values: Float64Array;
  /** The left singular vectors as columns, (m, min(m, n)) row-major; null if not asked for. */
  readonly left: Float64Array | null;
}

/**
 * Does what `svd` does, without its checks and without TensorFlow: by Golub and Kahan (LINPACK's
 * dsvdc, by way of JAMA).
 */
function javascriptSvd(matrix: Float64Array, m: number, n: number, vectors: boolean): Singular {
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
}

/**
 * Returns the singular values and, if `vectors` is true, the left singular vectors (else null).
 * @param matrix row-major (m, n)
 * @throws RangeError for a matrix that is not m × n or not finite
 */
export function svd(matrix: Float64Array, m: number, n: number, vectors = true): Singular {
  if (matrix.length !== m * n)
    throw new RangeError(`${matrix.length} values do not form a ${m} × ${n} matrix`);
  if (!matrix.every(Number.isFinite))
    throw new RangeError('a matrix with infinite or missing entries has no singular values');
  if (!hasOperations()) return javascriptSvd(matrix, m, n, vectors);
  const flags = { compute_uv: vectors, full_matrices: false };
  const [values, left] = runDouble('Svd', flags, matrix, [m, n], 3, vectors ? [0, 1] : [0]);
  return { values: values!, left: left ?? null };
}

/** Returns the singular values, descending. Throws as `svd` does. */
export const singularValues = (matrix: Float64Array, m: number, n: number): Float64Array =>
  svd(matrix, m, n, false).values;

/**
 * Returns R of the thin QR decomposition of a matrix (m, k), k ≤ m, as (k, k).
 * @param columns the matrix, row-major
 */
function rFactor(columns: Float64Array, m: number, k: number): Matrix {
  return new QrDecomposition(Matrix.from1DArray(m, k, Array.from(columns))).upperTriangularMatrix;
}

/**
 * Returns the k singular values of P Qᵀ that can differ from zero, descending. R_P R_Qᵀ has the
 * same singular values, where P = O_P R_P and Q = O_Q R_Q are thin QR decompositions.
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
  const core = rFactor(P, m, k).mmul(rFactor(Q, n, k).transpose()); // (k, k)
  return singularValues(Float64Array.from(core.to1DArray()), k, k);
}

/**
 * Returns the eigenvalues of a symmetric matrix, (n, n), in any order: by Householder's
 * tridiagonalisation and implicit QL (EISPACK's tred2 and tql2, from JAMA).
 */
function javascriptEigenvalues(matrix: Float64Array, n: number): Float64Array {
  const rows = Array.from({ length: n }, (_, i) => matrix.subarray(i * n, (i + 1) * n));
  return Float64Array.from(
    new EigenvalueDecomposition(rows, { assumeSymmetric: true }).realEigenvalues,
  );
}

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
  const values = hasOperations()
    ? runDouble('SelfAdjointEigV2', { compute_v: false }, symmetric, [n, n], 2, [0])[0]!
    : javascriptEigenvalues(symmetric, n);
  return values.sort().reverse();
}

/**
 * If the k-th singular value is at most this share of the largest, vectors are not taken from the
 * Gram matrix. Its eigenvalues are the squares of the singular values, and rounding errors would be
 * too large a part of the small ones.
 */
const SMALLEST_SHARE = 1e-6;

/**
 * Returns the left singular vectors of the k = min(count, m, n) largest singular values as columns,
 * (m, k), the vector of the largest value first. The sign of each is arbitrary.
 * @param matrix row-major (m, n)
 */
export function leadingLeftVectors(
  matrix: Float64Array,
  m: number,
  n: number,
  count: number,
): Float64Array {
  const q = Math.min(m, n),
    k = Math.min(count, q);
  if (hasOperations()) {
    const { values, vectors } = gramVectors(matrix, m, n);
    if (values[q - k]! > SMALLEST_SHARE ** 2 * values[q - 1]!) {
      return m <= n
        ? lastColumns(vectors, q, k)
        : normaliseColumns(product(matrix, lastColumns(vectors, q, k), m, n, k), m, k);
    }
  }
  const { left } = svd(matrix, m, n);
  return Float64Array.from({ length: m * k }, (_, at) => left![Math.floor(at / k) * q + (at % k)]!);
}

/**
 * Returns the eigenvalues (q), ascending, and eigenvectors (q, q), as columns, of the smaller Gram
 * matrix of W (m, n): W Wᵀ where m ≤ n, else Wᵀ W. Needs the TensorFlow backend.
 */
function gramVectors(
  W: Float64Array,
  m: number,
  n: number,
): { readonly values: Float64Array; readonly vectors: Float64Array } {
  const q = Math.min(m, n),
    flags = { transpose_a: m > n, transpose_b: m <= n };
  const [gram] = runDouble('MatMul', flags, W, [m, n], 1, [0], 2);
  const wanted = { compute_v: true };
  const [values, vectors] = runDouble('SelfAdjointEigV2', wanted, gram!, [q, q], 2, [0, 1]);
  return { values: values!, vectors: vectors! };
}

/** Returns the last k columns of a matrix, the last one first. (q, q) → (q, k) */
const lastColumns = (vectors: Float64Array, q: number, k: number): Float64Array =>
  Float64Array.from(
    { length: q * k },
    (_, at) => vectors[Math.floor(at / k) * q + q - 1 - (at % k)]!,
  );

/** Returns W V. W: (m, n), V: (n, k) → (m, k) */
function product(W: Float64Array, V: Float64Array, m: number, n: number, k: number): Float64Array {
  const out = new Float64Array(m * k);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      const w = W[i * n + j]!;
      for (let c = 0; c < k; c++) out[i * k + c]! += w * V[j * k + c]!;
    }
  return out;
}

/** Divides each column by its norm, in place, and returns the matrix. U: (m, k) */
function normaliseColumns(U: Float64Array, m: number, k: number): Float64Array {
  for (let c = 0; c < k; c++) {
    let norm = 0;
    for (let i = 0; i < m; i++) norm += U[i * k + c]! ** 2;
    for (let i = 0; i < m; i++) U[i * k + c]! /= Math.sqrt(norm);
  }
  return U;
}

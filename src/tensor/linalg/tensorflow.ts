/**
 * TensorFlow's decompositions in double precision. tfjs has no double tensors, but its binding
 * passes any type between operations, so doubles go in and out as pairs of int32 through Bitcast.
 */
import { hasOperations, tensorflowBackend } from '../operation.ts';
import type { EigenSolver } from './eigenvalues.ts';
import type { SingularSolver } from './svd.ts';

/** DT_DOUBLE of TensorFlow's types.proto. */
const DT_DOUBLE = 2;

/** The part of tfjs-node's binding that is used here. */
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
 * Runs an operation whose inputs are `times` copies of one row-major (m, n) matrix. Returns the
 * outputs whose indices are in `read`.
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
  const type = (key: string, value: number): { name: string; type: number; value: number } => ({
    name: key,
    type: binding.TF_ATTR_TYPE,
    value,
  });
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
    const results = binding.executeOp(
      name,
      [...attributes, type('T', DT_DOUBLE)],
      new Array<number>(times).fill(doubles),
      outputs,
    );
    results.forEach(({ id }) => {
      hold(id);
    });
    return read.map((k) => {
      // (…, 2) int32
      const out = binding.tensorDataSync(bitcast(results[k]!.id, DT_DOUBLE, binding.TF_INT32));
      return new Float64Array(out.buffer.slice(out.byteOffset, out.byteOffset + out.byteLength));
    });
  } finally {
    held.forEach((id) => {
      binding.deleteTensor(id);
    });
  }
}

/** SelfAdjointEigV2, or null where the current backend is not TensorFlow. */
export function tensorflowEigenvalues(): EigenSolver | null {
  return hasOperations()
    ? (matrix, n) => runDouble('SelfAdjointEigV2', { compute_v: false }, matrix, [n, n], 2, [0])[0]!
    : null;
}

/**
 * Eigenvalues (q), ascending, and eigenvectors (q, q), as columns, of the smaller Gram matrix of W
 * (m, n): W Wᵀ where m ≤ n, else Wᵀ W.
 */
export type GramSolver = (
  matrix: Float64Array,
  m: number,
  n: number,
) => { readonly values: Float64Array; readonly vectors: Float64Array };

/**
 * Returns a solver that runs MatMul and SelfAdjointEigV2; null where the current backend is not
 * TensorFlow.
 */
export function tensorflowGramVectors(): GramSolver | null {
  if (!hasOperations()) return null;
  return (matrix, m, n) => {
    const q = Math.min(m, n);
    const [gram] = runDouble(
      'MatMul',
      { transpose_a: m > n, transpose_b: m <= n },
      matrix,
      [m, n],
      1,
      [0],
      2,
    );
    const [values, vectors] = runDouble(
      'SelfAdjointEigV2',
      { compute_v: true },
      gram!,
      [q, q],
      2,
      [0, 1],
    );
    return { values: values!, vectors: vectors! };
  };
}

/** Returns a solver that runs Svd; null where the current backend is not TensorFlow. */
export function tensorflowSvd(): SingularSolver | null {
  if (!hasOperations()) return null;
  return (matrix, m, n, vectors) => {
    const [values, left] = runDouble(
      'Svd',
      { compute_uv: vectors, full_matrices: false },
      matrix,
      [m, n],
      3,
      vectors ? [0, 1] : [0],
    );
    return { values: values!, left: left ?? null };
  };
}

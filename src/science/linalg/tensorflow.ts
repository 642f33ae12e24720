/**
 * TensorFlow's symmetric eigensolver (SelfAdjointEigV2) in double precision. tfjs has no double tensors, but its binding
 * passes any type between operations, so doubles go in and out as pairs of int32 through Bitcast.
 */
import { hasOperations, tensorflowBackend } from '../../compute/operation.ts';
import type { EigenSolver } from './eigenvalues.ts';

/** TensorFlow's number for double (types.proto). */
const DT_DOUBLE = 2;

/** The part of tfjs-node's binding that is used here. */
interface Binding {
  readonly TF_INT32: number;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_BOOL: number;
  createTensor(shape: number[], dtype: number, values: Int32Array): number;
  deleteTensor(id: number): void;
  executeOp(name: string, attributes: { name: string; type: number; value: number | boolean }[], inputs: number[], outputs: number): { id: number }[];
  tensorDataSync(id: number): ArrayBufferView;
}

/** The solver, or null where the current backend is not TensorFlow. */
export function tensorflowEigenvalues(): EigenSolver | null {
  if (!hasOperations()) return null;
  const binding = tensorflowBackend().binding as unknown as Binding;
  const type = (name: string, value: number): { name: string; type: number; value: number } => ({ name, type: binding.TF_ATTR_TYPE, value });
  return (matrix, n) => {
    const held: number[] = [];
    const hold = (id: number): number => { held.push(id); return id; };
    const run = (name: string, attributes: { name: string; type: number; value: number | boolean }[], input: number): number =>
      hold(binding.executeOp(name, attributes, [input], 1)[0]!.id);
    try {
      const words = new Int32Array(matrix.buffer, matrix.byteOffset, 2 * n * n);
      const pairs = hold(binding.createTensor([n, n, 2], binding.TF_INT32, words)); // (n, n, 2) int32
      const doubles = run('Bitcast', [type('T', binding.TF_INT32), type('type', DT_DOUBLE)], pairs); // (n, n) double
      const eigen = binding.executeOp('SelfAdjointEigV2', [{ name: 'compute_v', type: binding.TF_ATTR_BOOL, value: false }, type('T', DT_DOUBLE)], [doubles], 2); // (n), (0)
      eigen.forEach(({ id }) => { hold(id); });
      const out = binding.tensorDataSync(run('Bitcast', [type('T', DT_DOUBLE), type('type', binding.TF_INT32)], eigen[0]!.id)); // (n, 2) int32
      return new Float64Array(out.buffer.slice(out.byteOffset, out.byteOffset + 8 * n));
    } finally {
      held.forEach((id) => { binding.deleteTensor(id); });
    }
  };
}

/** Products of two matrices, without a gradient: for use inside operations that bring their own. */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { callOperation, hasOperations } from '../../compute/operation.ts';

/**
 * a·b, with a or b transposed first where asked for. tf.matMul would run TensorFlow's batched
 * kernel, which is a few per cent slower on plain matrices.
 */
export function matmul(a: Tensor, b: Tensor, transposeA = false, transposeB = false): Tensor2D {
  if (!hasOperations()) return tf.matMul(a, b, transposeA, transposeB);
  return callOperation(
    'MatMul',
    [a, b],
    {
      transpose_a: { type: 'bool', value: transposeA },
      transpose_b: { type: 'bool', value: transposeB },
      T: { type: 'dtype', value: 'float32' },
    },
    1,
  )[0] as Tensor2D;
}

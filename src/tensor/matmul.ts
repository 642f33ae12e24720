/** Products of two matrices, without a gradient: for use inside operations that bring their own. */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { inFloat32 } from './compiled/compiled.ts';
import { callOperation, hasOperations } from './operation.ts';
import { fusedProduct, hasFusedProducts } from './products.ts';

/** The rows and the least number of weights for which the batched kernel is faster. */
const FEW_ROWS = { least: 2, most: 48 },
  MANY_WEIGHTS = 2 ** 20;

/**
 * Whether a·bᵀ is the product of few rows with a large matrix, as in generation. TensorFlow's plain
 * kernel copies the whole matrix into blocks first, which then takes longer than the product.
 */
const isNarrow = ({ shape: [rows = 0] }: Tensor, b: Tensor): boolean =>
  rows >= FEW_ROWS.least && rows <= FEW_ROWS.most && b.size >= MANY_WEIGHTS;

const attributesOf = (transposeA: boolean, transposeB: boolean) =>
  ({
    transpose_a: { type: 'bool', value: transposeA },
    transpose_b: { type: 'bool', value: transposeB },
    T: { type: 'dtype', value: 'float32' },
  }) as const;

/** By whether a and b are transposed. */
const ATTRIBUTES = [
  [attributesOf(false, false), attributesOf(false, true)],
  [attributesOf(true, false), attributesOf(true, true)],
] as const;

/**
 * a·b, with a or b transposed first where asked for. tf.matMul runs TensorFlow's batched kernel,
 * which is a few per cent slower on most plain matrices.
 */
export function matmul(a: Tensor, b: Tensor, transposeA = false, transposeB = false): Tensor2D {
  if (a.rank === 2 && b.rank === 2 && hasFusedProducts())
    return fusedProduct(a, b, transposeA, transposeB);
  if (!hasOperations() || (!transposeA && transposeB && isNarrow(a, b)))
    return tf.matMul(a, b, transposeA, transposeB);
  return callOperation(
    'MatMul',
    [a, b],
    ATTRIBUTES[transposeA ? 1 : 0][transposeB ? 1 : 0],
    1,
  )[0] as Tensor2D;
}

/**
 * Weighted sums of the rows of x, computed as a product, but in float32 in every training, as other
 * sums are. shares: (m, n), x: (n, w) → (m, w); with `transpose`, shares: (n, m).
 */
export const rowSums = (shares: Tensor, x: Tensor, transpose = false): Tensor2D =>
  inFloat32(() => matmul(shares, x, transpose));

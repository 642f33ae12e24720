/**
 * Matrix products, linear layers with and without a low-rank term, and the gradients of rows with their
 * inner products, without a gradient: for use inside operations that bring their own. Most are
 * operations that set-up adds to TensorFlow (src/tensor/native/fused-products.cc), which compute on
 * processors. In a region of `train.precision: bf16` the factors of products and layers are rounded to
 * bfloat16.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { inFloat32, productPrecision } from './compiled/compiled.ts';
import { hasFused, hasFusedBf16 } from './fused.ts';
import { type Attribute, attributesBy, callOperation, hasOperations } from './operation.ts';

/** Whether the operations can be called here, in the precision of the region of the call. */
export const hasFusedProducts = (): boolean =>
  hasFused() && (productPrecision() === 'float32' || hasFusedBf16());

/** Every operation is called with false; recording it in a region of bf16 makes that true. */
const IN_FLOAT32 = { bf16: { type: 'bool', value: false } } as const;

const NONE = {};

const flag = (value: boolean): Attribute => ({ type: 'bool', value });

/**
 * @param frozen whether W does not change from step to step: then compiled functions may read a
 *   copy of it that is kept (compiled/packs.ts), and are made with `packed`
 */
const layered = (frozen: boolean) => ({
  ...IN_FLOAT32,
  frozen: flag(frozen),
  packed: flag(false),
});

const ofProduct = attributesBy((transposeA: boolean, transposeB: boolean) => ({
  transpose_a: flag(transposeA),
  transpose_b: flag(transposeB),
  ...IN_FLOAT32,
}));

/** a·b, with a or b transposed first where asked for. Both are matrices. */
export const fusedProduct = (
  a: Tensor,
  b: Tensor,
  transposeA: boolean,
  transposeB: boolean,
): Tensor2D =>
  callOperation('FusedProduct', [a, b], ofProduct(transposeA, transposeB), 1)[0] as Tensor2D;

const ofLinear = attributesBy(layered);

/**
 * x Wᵀ + b. x: (S, n), W: (m, n), b: (m) → (S, m).
 * @param frozen whether W does not change from step to step
 */
export const fusedLinear = (x: Tensor2D, W: Tensor2D, b: Tensor1D, frozen = false): Tensor2D =>
  callOperation('FusedLinear', [x, W, b], ofLinear(frozen), 1)[0] as Tensor2D;

const ofLora = attributesBy((scale: number, frozen: boolean) => ({
  scale: { type: 'float', value: scale },
  ...layered(frozen),
}));

/**
 * y = x Wᵀ + down Bᵀ + b, down = s·x Aᵀ; b may be absent.
 * x: (S, n), W: (m, n), A: (r, n), B: (m, r), b: (m) → y (S, m), down (S, r).
 * @param frozen whether W does not change from step to step
 */
export const fusedLora = (
  [x, W, A, B]: readonly [x: Tensor2D, W: Tensor2D, A: Tensor2D, B: Tensor2D],
  b: Tensor1D | null,
  scale: number,
  frozen = false,
): [y: Tensor2D, down: Tensor2D] =>
  callOperation(
    b === null ? 'FusedLora' : 'FusedLoraBias',
    b === null ? [x, W, A, B] : [x, W, A, B, b],
    ofLora(scale, frozen),
    2,
  ) as [Tensor2D, Tensor2D];

/** Which derivatives of `fusedLora` are wanted, and whether W does not change from step to step. */
interface Wanted {
  readonly x: boolean;
  readonly A: boolean;
  readonly B: boolean;
  readonly frozen?: boolean;
}

const ofLoraGradient = attributesBy(
  (scale: number, x: boolean, A: boolean, B: boolean, frozen: boolean) => ({
    scale: { type: 'float', value: scale },
    of_x: flag(x),
    of_a: flag(A),
    of_b: flag(B),
    ...layered(frozen),
  }),
);

/**
 * The derivatives of `fusedLora`: dx = dy W + u A, dA = uᵀx, dB = dyᵀdown, u = s·dy B. dy: (S, m) →
 * in the shapes of x, A and B; null for one that is not wanted.
 */
export function fusedLoraGradient(
  dy: Tensor2D,
  [x, W, A, B, down]: readonly [x: Tensor2D, W: Tensor2D, A: Tensor2D, B: Tensor2D, down: Tensor2D],
  scale: number,
  wanted: Wanted,
): [dx: Tensor2D | null, dA: Tensor2D | null, dB: Tensor2D | null] {
  const [dx, dA, dB] = callOperation(
    'FusedLoraGrad',
    [dy, x, W, A, B, down],
    ofLoraGradient(scale, wanted.x, wanted.A, wanted.B, wanted.frozen ?? false),
    3,
  ) as [Tensor2D, Tensor2D, Tensor2D];
  return [wanted.x ? dx : null, wanted.A ? dA : null, wanted.B ? dB : null];
}

/** Where the tokens of each row stand among all, int32. */
export interface TokenOrder {
  /** The tokens of the first row, then those of the next, … (S) */
  readonly order: Tensor1D;
  /** Where each row starts in `order`, then where the last one ends. (R + 1) */
  readonly starts: Tensor1D;
}

/** Σ_t a_t b_tᵀ over the tokens of each row, in float32. a: (S, p), b: (S, q) → (R, p·q). */
export const fusedRowGradients = (
  a: Tensor2D,
  b: Tensor2D,
  { order, starts }: TokenOrder,
): Tensor2D => callOperation('FusedRowGradients', [a, b, order, starts], NONE, 1)[0] as Tensor2D;

const ofGram = attributesBy((N: number) => ({ N: { type: 'int', value: N } }));

/**
 * The lower triangle of G·Gᵀ, in float32, with zeros above it, where G has the rows of all parts.
 * parts: (·, n) each → (N, N).
 */
export const fusedGram = (parts: readonly Tensor2D[]): Tensor2D =>
  callOperation('FusedGram', parts, ofGram(parts.length), 1)[0] as Tensor2D;

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

/**
 * Matrix products, linear layers with and without a low-rank term, the gradient of a weight for
 * each row of a batch, and inner products of such gradients. None of these functions records a
 * gradient: they are for operations that bring their own derivative. Most are operations that
 * set-up adds to TensorFlow (src/tensor/native/fused-products.cc), which compute on processors. In
 * a region of `train.precision: bf16` the factors of products and layers are rounded to bfloat16.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { inFloat32, productPrecision } from './compiled/compiled.ts';
import { matMul, type Rule, shaped } from './compiled/rules.ts';
import { hasFused, hasFusedBf16 } from './fused.ts';
import { callOperation, hasOperations, operation } from './operation.ts';

/** Whether fused products can be called, in the precision of the region around the call. */
export const hasFusedProducts = (): boolean =>
  hasFused() && (productPrecision() === 'float32' || hasFusedBf16());

const product = operation(
  'FusedProduct',
  { transpose_a: 'bool', transpose_b: 'bool', bf16: 'bool' },
  matMul('transpose_a', 'transpose_b'),
);

/** Returns the attribute that says whether factors are rounded in the region around the call. */
const roundingFlag = (): { readonly bf16: boolean } => ({ bf16: productPrecision() === 'bf16' });

/** a·b, with a or b transposed first where asked for. Both are matrices. */
export const fusedProduct = (
  a: Tensor,
  b: Tensor,
  transposeA: boolean,
  transposeB: boolean,
): Tensor2D =>
  product([a, b], {
    transpose_a: transposeA,
    transpose_b: transposeB,
    ...roundingFlag(),
  })[0] as Tensor2D;

/**
 * `packed` is set if a packed copy of the frozen W (compiled/copies.ts) is given in place of W.
 */
const LAYER = { bf16: 'bool', frozen: 'bool', packed: 'bool' } as const,
  LORA = { ...LAYER, scale: 'float' } as const;

/**
 * The rule of outputs y, (S, m), and down, (S, r), of inputs x, (S, n), w, (m, n), and a, (r, n).
 */
const loraOutputs: Rule = ([x, w, a]) =>
  [w, a].map(({ shape }) => ({ shape: [x.shape[0]!, shape[0]!], dtype: x.dtype }));

const layer = operation(
    'FusedLinear',
    LAYER,
    shaped(([x, w]) => [x.shape[0]!, w.shape[0]!]),
  ),
  lora = operation('FusedLora', LORA, loraOutputs),
  loraBias = operation('FusedLoraBias', LORA, loraOutputs),
  loraGradient = operation(
    'FusedLoraGrad',
    { ...LORA, of_x: 'bool', of_a: 'bool', of_b: 'bool' },
    ([, x, , a, b], attribute) =>
      [x, a, b].map(({ shape, dtype }, i) => ({
        shape: attribute(['of_x', 'of_a', 'of_b'][i]!) === true ? shape : [0],
        dtype,
      })),
  );

/**
 * x Wᵀ + b. x: (S, n), W: (m, n), b: (m) → (S, m).
 * @param frozen whether W does not change from step to step
 */
export const fusedLinear = (x: Tensor2D, W: Tensor2D, b: Tensor1D, frozen = false): Tensor2D =>
  layer([x, W, b], { ...roundingFlag(), frozen, packed: false })[0] as Tensor2D;

/**
 * y = x Wᵀ + down Bᵀ + b, down = s·x Aᵀ; b may be absent.
 * x: (S, n), W: (m, n), A: (r, n), B: (m, r), b: (m) → y (S, m), down (S, r).
 * @param frozen whether W does not change from step to step
 */
export function fusedLora(
  factors: readonly [x: Tensor2D, W: Tensor2D, A: Tensor2D, B: Tensor2D],
  b: Tensor1D | null,
  scale: number,
  frozen = false,
): [y: Tensor2D, down: Tensor2D] {
  const values = { ...roundingFlag(), frozen, packed: false, scale };
  const made = b === null ? lora(factors, values, 2) : loraBias([...factors, b], values, 2);
  return made as [Tensor2D, Tensor2D];
}

interface Wanted {
  readonly x: boolean;
  readonly A: boolean;
  readonly B: boolean;
  /** Whether W does not change from step to step. */
  readonly frozen?: boolean;
}

/**
 * The derivatives of `fusedLora`: dx = dy W + u A, dA = uᵀx, dB = dyᵀdown, u = s·dy B. dy: (S, m) →
 * in the shapes of x, A and B; null for one that is not wanted.
 */
export function fusedLoraGradient(
  dy: Tensor2D,
  saved: readonly [x: Tensor2D, W: Tensor2D, A: Tensor2D, B: Tensor2D, down: Tensor2D],
  scale: number,
  { x, A, B, frozen = false }: Wanted,
): [dx: Tensor2D | null, dA: Tensor2D | null, dB: Tensor2D | null] {
  const values = { ...roundingFlag(), frozen, packed: false, scale, of_x: x, of_a: A, of_b: B };
  const [dx, dA, dB] = loraGradient([dy, ...saved], values, 3) as [Tensor2D, Tensor2D, Tensor2D];
  return [x ? dx : null, A ? dA : null, B ? dB : null];
}

/** Where the tokens of each of R rows stand among all S tokens, int32. */
export interface TokenOrder {
  /** The numbers of the first row's tokens, then those of the next row's, … (S) */
  readonly order: Tensor1D;
  /** Where each row starts in `order`, then where the last one ends. (R + 1) */
  readonly starts: Tensor1D;
}

const rowGradients = operation(
    'FusedRowGradients',
    {},
    shaped(([a, b, , starts]) => [starts.shape[0]! - 1, a.shape[1]! * b.shape[1]!]),
  ),
  gram = operation(
    'FusedGram',
    { N: 'int' },
    shaped((parts) => {
      const rows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0);
      return [rows, rows];
    }),
    0,
  );

/** Σ_t a_t b_tᵀ over the tokens of each row, in float32. a: (S, p), b: (S, q) → (R, p·q). */
export const fusedRowGradients = (
  a: Tensor2D,
  b: Tensor2D,
  { order, starts }: TokenOrder,
): Tensor2D => rowGradients([a, b, order, starts], {})[0] as Tensor2D;

/**
 * The lower triangle of G·Gᵀ, in float32, with zeros above it, where G, (N, n), has the rows of all
 * parts, one part after the other. parts: (·, n) each → (N, N).
 */
export const fusedGram = (parts: readonly Tensor2D[]): Tensor2D =>
  gram(parts, { N: parts.length })[0] as Tensor2D;

/** If a has this many rows, and b at least this many entries, the batched kernel is faster. */
const FEW_ROWS = { least: 2, most: 48 },
  MANY_WEIGHTS = 2 ** 20;

/**
 * Whether a·bᵀ is the product of a matrix of few rows with a large one, as in generation.
 * TensorFlow's plain kernel first copies the whole large matrix into blocks, which here takes
 * longer than the product.
 */
const isNarrow = ({ shape: [rows = 0] }: Tensor, b: Tensor): boolean =>
  rows >= FEW_ROWS.least && rows <= FEW_ROWS.most && b.size >= MANY_WEIGHTS;

const attributesOf = (transposeA: boolean, transposeB: boolean) =>
  ({
    transpose_a: { type: 'bool', value: transposeA },
    transpose_b: { type: 'bool', value: transposeB },
    T: { type: 'dtype', value: 'float32' },
  }) as const;

/** By whether a is transposed, then by whether b is: 1 if so, else 0. */
const ATTRIBUTES = [
  [attributesOf(false, false), attributesOf(false, true)],
  [attributesOf(true, false), attributesOf(true, true)],
] as const;

/**
 * a·b, with a or b transposed first where asked for, fused where it can be. tf.matMul runs
 * TensorFlow's batched kernel, which is a few per cent slower on most plain matrices.
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
 * Weighted sums of the rows of x. They are computed as a product, but always in float32, as other
 * sums are. shares: (m, n), x: (n, w) → (m, w); with `transpose`, shares: (n, m).
 */
export const rowSums = (shares: Tensor, x: Tensor, transpose = false): Tensor2D =>
  inFloat32(() => matmul(shares, x, transpose));

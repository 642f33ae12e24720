/**
 * Operations that set-up adds to TensorFlow (src/tensor/native/fused.cc), each of which does the
 * work of several operations in one pass over memory. They compute on processors, in float32, and
 * record no gradient.
 */
import {
  getBackend,
  type Scalar,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { processWide } from '../base/process-wide.ts';
import { same, shaped } from './compiled/rules.ts';
import { operation } from './operation.ts';

const state = processWide('fused', () => ({ on: false, bf16: false }));

/** Switches fused operations on. @param bf16 whether they also compute products in bfloat16 */
export function useFused(bf16: boolean): void {
  Object.assign(state, { on: true, bf16 });
}

/** Whether fused operations can be called: the backend is TensorFlow, on a processor. */
export const hasFused = (): boolean => state.on && getBackend() === 'tensorflow';

/** Whether fused operations compute products in bfloat16. */
export const hasFusedBf16 = (): boolean => state.bf16;

/**
 * Returns what `run` returns, without fused operations; if that is a promise, they stay off until
 * it is settled. For tests.
 */
export function withoutFused<T>(run: () => T): T {
  const before = state.on;
  const restore = (): void => {
    state.on = before;
  };
  state.on = false;
  let pending = false;
  try {
    const result = run();
    if (!(result instanceof Promise)) return result;
    pending = true;
    return result.finally(restore) as T;
  } finally {
    if (!pending) restore();
  }
}

/** In the order of their numbers in fused.cc. */
const ACTIVATIONS = ['gelu', 'geluTanh', 'silu'] as const;
export type FusedActivation = (typeof ACTIVATIONS)[number];

const numberOf = (kind: FusedActivation): number => ACTIVATIONS.indexOf(kind);

// Here and below, `operation` returns a function that calls one operation of fused.cc: with its
// inputs, the values of its attributes and, if there are several, the number of its outputs.
const activation = operation('FusedActivation', { kind: 'int' }, same),
  activationGradient = operation('FusedActivationGrad', { kind: 'int' }, same),
  gated = operation(
    'FusedGated',
    { N: 'int', kind: 'int' },
    shaped(([{ shape }], attribute) => (attribute('N') === 1 ? [shape[0]!, shape[1]! / 2] : shape)),
    0,
  ),
  gatedGradient = operation(
    'FusedGatedGrad',
    { N: 'int', kind: 'int' },
    ([, ...parts]) => parts,
    1,
  );

/** act(u), entry by entry. */
export const fusedActivation = <T extends Tensor>(u: T, kind: FusedActivation): T =>
  activation([u], { kind: numberOf(kind) })[0] as T;

/** dy·act′(u), entry by entry. */
export const fusedActivationGradient = <T extends Tensor>(dy: T, u: T, kind: FusedActivation): T =>
  activationGradient([dy, u], { kind: numberOf(kind) })[0] as T;

/** gate and up, (S, m) each; or one tensor with the columns of gate, then those of up, (S, 2m). */
export type Gated = readonly [gate: Tensor2D, up: Tensor2D] | readonly [both: Tensor2D];

/** act(gate)·up, entry by entry → (S, m). */
export const fusedGated = (parts: Gated, kind: FusedActivation): Tensor2D =>
  gated(parts, { N: parts.length, kind: numberOf(kind) })[0] as Tensor2D;

/**
 * The gradients of gate, dy·up·act′(gate), and of up, dy·act(gate): in two tensors or side by side
 * in one, as `parts` has gate and up. dy: (S, m).
 */
export const fusedGatedGradient = (dy: Tensor2D, parts: Gated, kind: FusedActivation): Tensor2D[] =>
  gatedGradient(
    [dy, ...parts],
    { N: parts.length, kind: numberOf(kind) },
    parts.length,
  ) as Tensor2D[];

/** The kind of a norm over the last axis. */
export interface NormKind {
  /** Whether the norm subtracts the mean: a layer norm does, an RMS norm does not. */
  readonly centred: boolean;
  /** Whether the norm multiplies by 1 + γ in place of γ. */
  readonly offset: boolean;
}

const KIND = { centred: 'bool', offset: 'bool' } as const;
const norm = operation(
    'FusedNorm',
    { N: 'int', adds: 'bool', epsilon: 'float', ...KIND },
    ([x]) => [x, x, { shape: [...x.shape.slice(0, -1), 1], dtype: x.dtype }],
    1,
  ),
  normGradient = operation('FusedNormGrad', KIND, same);

/**
 * y = γ·ẑ + β, ẑ = (z − mean z)·inverse, inverse = 1/√(var z + ε), z = x + residual. A norm that is
 * not centred has ẑ = z·inverse, inverse = 1/√(mean z² + ε). The residual and β are 0 where they
 * are null, and 1 + γ stands in place of γ if `kind.offset` is set. x: (S, h), gamma, beta: (h) →
 * y, ẑ (S, h), inverse (S, 1).
 */
export const fusedNorm = (
  x: Tensor2D,
  residual: Tensor2D | null,
  gamma: Tensor1D,
  beta: Tensor1D | null,
  kind: NormKind,
  epsilon: number,
): [y: Tensor2D, normed: Tensor2D, inverse: Tensor2D] => {
  const others = [residual, gamma, beta].filter((tensor) => tensor !== null);
  const values = { N: others.length, adds: residual !== null, epsilon, ...kind };
  return norm([x, ...others], values, 3) as [Tensor2D, Tensor2D, Tensor2D];
};

/**
 * The gradient of z in `fusedNorm`: (g − mean g − ẑ·mean(g·ẑ))·inverse, g = γ·dy, without mean g
 * where the norm is not centred. dy, normed: (S, h), inverse: (S, 1) → (S, h).
 */
export const fusedNormGradient = (
  dy: Tensor,
  saved: readonly [normed: Tensor, inverse: Tensor, gamma: Tensor],
  kind: NormKind,
): Tensor => normGradient([dy, ...saved], kind)[0]!;

const rotary = operation('FusedRotary', { heads: 'int', back: 'bool' }, same);

/**
 * Rotates the pair of features i and i + r/2 of each head of a token, for i < r/2, by the angle
 * whose cosine and sine are in `cos` and `sin`; backwards if `back`. Features from r on stay. x:
 * (S, H·d), cos, sin: (S, …, r/2) → (S, H·d), for S tokens and H = `heads` heads of d features.
 */
export const fusedRotary = (
  x: Tensor2D,
  cos: Tensor,
  sin: Tensor,
  heads: number,
  back: boolean,
): Tensor2D => rotary([x, cos, sin], { heads, back })[0] as Tensor2D;

const addBias = operation('FusedAddBias', {}, same),
  addBoth = operation('FusedAddBoth', {}, same);

/** a + bias, or a + bias + b. a, b: (S, m), bias: (m) → (S, m). */
export const fusedAddBias = (a: Tensor2D, bias: Tensor1D, b: Tensor2D | null = null): Tensor2D =>
  (b === null ? addBias([a, bias], {}) : addBoth([a, b, bias], {}))[0] as Tensor2D;

/** A parameter with its gradient and moments, all in one shape. */
export type AdamwParts = readonly [p: Tensor, g: Tensor, m: Tensor, v: Tensor];

const adamw = operation(
  'FusedAdamW',
  { N: 'int', M: 'int' },
  (inputs) => inputs.slice(0, -1).filter((_, i) => i % 4 !== 1),
  0,
);

/**
 * m′ = β₁m + (1−β₁)g;  v′ = β₂v + (1−β₂)g²;  p′ = p·decay − m′/(√v′/root + ε)·size.
 * @param constants for each part β₁, 1−β₁, β₂, 1−β₂, root, ε, decay, size: (parts, 8). In step t,
 *   root = √(1−β₂ᵗ), decay = 1 − lr·wd and size = lr/(1−β₁ᵗ), with wd the weight decay.
 * @returns p′, m′ and v′ of each part
 */
export function fusedAdamw(
  parts: readonly AdamwParts[],
  constants: Tensor2D,
): [p: Tensor, m: Tensor, v: Tensor][] {
  const outputs = 3 * parts.length;
  const updated = adamw([...parts.flat(), constants], { N: 4 * parts.length, M: outputs }, outputs);
  return parts.map((_, k) => updated.slice(3 * k, 3 * k + 3) as [Tensor, Tensor, Tensor]);
}

const crossEntropy = operation('FusedCrossEntropy', {}, ([logits]) => [
  { shape: [], dtype: logits.dtype },
  logits,
]);

/**
 * Σ_b w_b·(log Σ_c e^{f_bc} − f_b[label_b]), a scalar, and its gradient with respect to f,
 * w_b·(softmax(f_b) − onehot_b). logits: f, (B, C), labels: int32, (B), weights: w, (B).
 */
export const fusedCrossEntropy = (
  logits: Tensor2D,
  labels: Tensor1D,
  weights: Tensor1D,
): [loss: Scalar, gradient: Tensor2D] =>
  crossEntropy([logits, labels, weights], {}, 2) as [Scalar, Tensor2D];

export interface FusedAttention {
  readonly heads: number;
  /** The number of heads of keys and values; heads/kvHeads successive heads share each of them. */
  readonly kvHeads: number;
  /** The factor on the scores. */
  readonly scale: number;
  /** Whether a query sees no key after it. */
  readonly causal: boolean;
  /** A query sees only keys less than this many positions away; with Infinity, all keys. */
  readonly window: number;
}

/** Where the tokens of the B rows of a batch stand, int32. */
export interface FusedRows {
  /** Where each row's queries start among all queries, then the end of the last row. (B + 1) */
  readonly queries: Tensor1D;
  /** Where each row's keys start among all keys, then the end of the last row. (B + 1) */
  readonly keys: Tensor1D;
  /** The position of each query among the keys of its row, (Q). */
  readonly places: Tensor1D;
}

const ATTENTION = {
  heads: 'int',
  kv_heads: 'int',
  scale: 'float',
  causal: 'bool',
  window: 'int',
} as const;
const attention = operation('FusedAttention', ATTENTION, same),
  attentionGradient = operation('FusedAttentionGrad', ATTENTION, ([, q, k, v]) => [q, k, v]);

/**
 * Returns the values of the attributes in ATTENTION. In fused.cc, a window of 0 means no window.
 */
const attentionValues = ({ kvHeads, window, ...others }: FusedAttention) => ({
  ...others,
  kv_heads: kvHeads,
  window: Number.isFinite(window) ? window : 0,
});

/**
 * softmax(q kᵀ·scale)·v for each row and head, over the keys that a query sees, without padding. q:
 * (Q, H·d), k, v: (S, Hk·d) → (Q, H·d), for Q queries, S keys, H = `heads` and Hk = `kvHeads` heads
 * of d features.
 */
export const fusedAttention = (
  qkv: readonly [q: Tensor2D, k: Tensor2D, v: Tensor2D],
  { queries, keys, places }: FusedRows,
  shape: FusedAttention,
): Tensor2D => attention([...qkv, queries, keys, places], attentionValues(shape))[0] as Tensor2D;

/**
 * The gradients with respect to q, k and v of `fusedAttention`. dy: (Q, H·d) → dq, dk, dv in the
 * shapes of q, k, v.
 */
export const fusedAttentionGradient = (
  dy: Tensor2D,
  qkv: readonly [q: Tensor2D, k: Tensor2D, v: Tensor2D],
  { queries, keys, places }: FusedRows,
  shape: FusedAttention,
): [dq: Tensor2D, dk: Tensor2D, dv: Tensor2D] =>
  attentionGradient([dy, ...qkv, queries, keys, places], attentionValues(shape), 3) as [
    Tensor2D,
    Tensor2D,
    Tensor2D,
  ];

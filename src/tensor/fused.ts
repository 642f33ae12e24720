/**
 * Operations that set-up adds to TensorFlow (src/tensor/native/fused.cc), each of which replaces
 * several by one pass over memory. They compute on processors, in float32, without a gradient.
 */
import type { Scalar, Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { getBackend } from '@tensorflow/tfjs-core';
import { type Attributes, attributesBy, callOperation } from './operation.ts';
import { processWide } from './process-wide.ts';

const state = processWide('fused', () => ({ on: false, bf16: false }));

/**
 * Says that the loaded binding has the operations, and that they are to be used.
 * @param bf16 whether they are also to be used for products in bfloat16
 */
export function useFused(bf16: boolean): void {
  Object.assign(state, { on: true, bf16 });
}

/** Whether the operations can be called: the backend is TensorFlow, on a processor. */
export const hasFused = (): boolean => state.on && getBackend() === 'tensorflow';

/** Whether products in bfloat16 are to be computed by them. */
export const hasFusedBf16 = (): boolean => state.bf16;

/**
 * Runs `run` without them, on the operations of TensorFlow that they are tested against; until its
 * promise is settled, if it returns one.
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

const NONE = {};

const single = (name: string, inputs: readonly Tensor[]): Tensor =>
  callOperation(name, inputs, NONE, 1)[0] as Tensor;

/** The activations that are one operation, in the order of their numbers in fused.cc. */
const ACTIVATIONS = ['gelu', 'geluTanh', 'silu'] as const;
export type FusedActivation = (typeof ACTIVATIONS)[number];

const numbered = attributesBy((kind: number) => ({ kind: { type: 'int', value: kind } }));

const ofActivation = (kind: FusedActivation): Attributes => numbered(ACTIVATIONS.indexOf(kind));

/** act(u), entry by entry. */
export const fusedActivation = <T extends Tensor>(u: T, kind: FusedActivation): T =>
  callOperation('FusedActivation', [u], ofActivation(kind), 1)[0] as T;

/** dy·act′(u). */
export const fusedActivationGradient = <T extends Tensor>(dy: T, u: T, kind: FusedActivation): T =>
  callOperation('FusedActivationGrad', [dy, u], ofActivation(kind), 1)[0] as T;

/** gate and up, (S, m) each; or one tensor with the columns of gate, then those of up, (S, 2m). */
export type Gated = readonly [gate: Tensor2D, up: Tensor2D] | readonly [both: Tensor2D];

const numberedParts = attributesBy((N: number, kind: number) => ({
  N: { type: 'int', value: N },
  kind: { type: 'int', value: kind },
}));

const ofGated = ({ length }: Gated, kind: FusedActivation): Attributes =>
  numberedParts(length, ACTIVATIONS.indexOf(kind));

/** act(gate)·up → (S, m). */
export const fusedGated = (parts: Gated, kind: FusedActivation): Tensor2D =>
  callOperation('FusedGated', parts, ofGated(parts, kind), 1)[0] as Tensor2D;

/** dy·up·act′(gate) and dy·act(gate), as the parts are. dy: (S, m). */
export const fusedGatedGradient = (dy: Tensor2D, parts: Gated, kind: FusedActivation): Tensor2D[] =>
  callOperation('FusedGatedGrad', [dy, ...parts], ofGated(parts, kind), parts.length) as Tensor2D[];

/** What a norm over the last axis subtracts, and how its scale is stored. */
export interface NormKind {
  /** Whether it subtracts the mean: a layer norm does, an RMS norm does not. */
  readonly centred: boolean;
  /** Whether it multiplies by 1 + γ in place of γ. */
  readonly offset: boolean;
}

const ofNorm = attributesBy(
  (N: number, adds: boolean, epsilon: number, centred: boolean, offset: boolean) => ({
    N: { type: 'int', value: N },
    adds: { type: 'bool', value: adds },
    epsilon: { type: 'float', value: epsilon },
    centred: { type: 'bool', value: centred },
    offset: { type: 'bool', value: offset },
  }),
);

/**
 * y = γ·ẑ + β, ẑ = (z − mean z)·inverse, inverse = 1/√(var z + ε), z = x + residual. A norm that is
 * not centred has ẑ = z·inverse, inverse = 1/√(mean z² + ε). The residual and β are 0 where they
 * are null. x: (S, h), gamma, beta: (h) → y, ẑ (S, h), inverse (S, 1).
 */
export const fusedNorm = (
  x: Tensor2D,
  residual: Tensor2D | null,
  gamma: Tensor1D,
  beta: Tensor1D | null,
  { centred, offset }: NormKind,
  epsilon: number,
): [y: Tensor2D, normed: Tensor2D, inverse: Tensor2D] => {
  const others = [residual, gamma, beta].filter((tensor) => tensor !== null);
  return callOperation(
    'FusedNorm',
    [x, ...others],
    ofNorm(others.length, residual !== null, epsilon, centred, offset),
    3,
  ) as [Tensor2D, Tensor2D, Tensor2D];
};

const ofNormGradient = attributesBy((centred: boolean, offset: boolean) => ({
  centred: { type: 'bool', value: centred },
  offset: { type: 'bool', value: offset },
}));

/**
 * (g − mean g − ẑ·mean(g·ẑ))·inverse, g = γ·dy, without mean g where the norm is not centred. dy,
 * normed: (S, h), inverse: (S, 1) → (S, h).
 */
export const fusedNormGradient = (
  dy: Tensor,
  [normed, inverse, gamma]: readonly [normed: Tensor, inverse: Tensor, gamma: Tensor],
  { centred, offset }: NormKind,
): Tensor =>
  callOperation(
    'FusedNormGrad',
    [dy, normed, inverse, gamma],
    ofNormGradient(centred, offset),
    1,
  )[0] as Tensor;

const ofRotary = attributesBy((heads: number, back: boolean) => ({
  heads: { type: 'int', value: heads },
  back: { type: 'bool', value: back },
}));

/**
 * Rotates features i and i + r/2 of each head of a token by the angle of cos and sin, backwards if
 * `back`; features from r on stay. x: (S, H·d), cos, sin: (S, …, r/2) → (S, H·d).
 */
export const fusedRotary = (
  x: Tensor2D,
  cos: Tensor,
  sin: Tensor,
  heads: number,
  back: boolean,
): Tensor2D => callOperation('FusedRotary', [x, cos, sin], ofRotary(heads, back), 1)[0] as Tensor2D;

/** a + bias, or a + bias + b. a, b: (S, m), bias: (m) → (S, m). */
export const fusedAddBias = (a: Tensor2D, bias: Tensor1D, b: Tensor2D | null = null): Tensor2D =>
  (b === null
    ? single('FusedAddBias', [a, bias])
    : single('FusedAddBoth', [a, b, bias])) as Tensor2D;

/** A parameter with its gradient and moments, all in one shape. */
export type AdamwParts = readonly [p: Tensor, g: Tensor, m: Tensor, v: Tensor];

const ofParts = attributesBy((count: number) => ({
  N: { type: 'int', value: 4 * count },
  M: { type: 'int', value: 3 * count },
}));

/**
 * m′ = β₁m + (1−β₁)g;  v′ = β₂v + (1−β₂)g²;  p′ = p·decay − m′/(√v′/root + ε)·size.
 * @param constants β₁, 1−β₁, β₂, 1−β₂, root, ε, decay, size of each, (·, 8)
 * @returns p′, m′, v′ of each
 */
export function fusedAdamw(
  parts: readonly AdamwParts[],
  constants: Tensor2D,
): [p: Tensor, m: Tensor, v: Tensor][] {
  const updated = callOperation(
    'FusedAdamW',
    [...parts.flat(), constants],
    ofParts(parts.length),
    3 * parts.length,
  );
  return parts.map((_, k) => updated.slice(3 * k, 3 * k + 3) as [Tensor, Tensor, Tensor]);
}

/**
 * Σ_b w_b·(log Σ_c e^{f_bc} − f_b[label_b]), a scalar, and its gradient with respect to f,
 * w_b·(softmax(f_b) − onehot_b). logits: f, (B, C), labels: int32, (B), weights: w, (B).
 */
export const fusedCrossEntropy = (
  logits: Tensor2D,
  labels: Tensor1D,
  weights: Tensor1D,
): [loss: Scalar, gradient: Tensor2D] =>
  callOperation('FusedCrossEntropy', [logits, labels, weights], NONE, 2) as [Scalar, Tensor2D];

/** What a fused attention is given besides its tensors. */
export interface FusedAttention {
  readonly heads: number;
  /** Heads of keys and values, each shared by heads/kvHeads heads after one another. */
  readonly kvHeads: number;
  /** The factor on the scores. */
  readonly scale: number;
  /** Whether a query sees no key after it. */
  readonly causal: boolean;
  /** A query sees keys less than this many positions away; Infinity for all. */
  readonly window: number;
}

/** Where the tokens of the rows of a batch stand, int32. */
export interface FusedRows {
  /** Where the queries of each row start among all, then where the last ones end. (B + 1) */
  readonly queries: Tensor1D;
  /** Likewise of the keys. (B + 1) */
  readonly keys: Tensor1D;
  /** The position of each query in its row, (Q). */
  readonly places: Tensor1D;
}

const attributesOfAttention = attributesBy(
  (heads: number, kvHeads: number, scale: number, causal: boolean, window: number) => ({
    heads: { type: 'int', value: heads },
    kv_heads: { type: 'int', value: kvHeads },
    scale: { type: 'float', value: scale },
    causal: { type: 'bool', value: causal },
    window: { type: 'int', value: Number.isFinite(window) ? window : 0 },
  }),
);

const ofAttention = ({ heads, kvHeads, scale, causal, window }: FusedAttention): Attributes =>
  attributesOfAttention(heads, kvHeads, scale, causal, window);

/**
 * softmax(QKᵀ·scale)·V for each row and head, over the keys that a query sees, without padding.
 * q: (Q, H·d), k, v: (S, Hk·d) → (Q, H·d).
 */
export const fusedAttention = (
  [q, k, v]: readonly [q: Tensor2D, k: Tensor2D, v: Tensor2D],
  { queries, keys, places }: FusedRows,
  shape: FusedAttention,
): Tensor2D =>
  callOperation(
    'FusedAttention',
    [q, k, v, queries, keys, places],
    ofAttention(shape),
    1,
  )[0] as Tensor2D;

/** The derivative of `fusedAttention`. dy: (Q, H·d) → dq, dk, dv in the shapes of q, k, v. */
export const fusedAttentionGradient = (
  dy: Tensor2D,
  [q, k, v]: readonly [q: Tensor2D, k: Tensor2D, v: Tensor2D],
  { queries, keys, places }: FusedRows,
  shape: FusedAttention,
): [dq: Tensor2D, dk: Tensor2D, dv: Tensor2D] =>
  callOperation(
    'FusedAttentionGrad',
    [dy, q, k, v, queries, keys, places],
    ofAttention(shape),
    3,
  ) as [Tensor2D, Tensor2D, Tensor2D];

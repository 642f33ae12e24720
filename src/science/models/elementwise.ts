/** Dropout, products, and activations by their names in config.json, with and without a gate. */
import type { Rank, ShapeMap, Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable, markConstant } from '../../tensor/differentiable.ts';
import {
  type FusedActivation,
  fusedActivation,
  fusedActivationGradient,
  fusedGated,
  fusedGatedGradient,
  type Gated,
  hasFused,
} from '../../tensor/fused.ts';
import { columns } from './linear.ts';
import type { ForwardContext } from './types.ts';

/** Returns x times the number `by`. (S, m) → (S, m). */
export const scaled = (x: Tensor2D, by: number): Tensor2D =>
  differentiable([x], {
    forward: () => ({ value: tf.mul<Tensor2D>(x, by), saved: [] }),
    backward: (dy) => [tf.mul(dy, by)],
  });

/** a ⊙ b. (S, m), (S, m) → (S, m). */
const product = (a: Tensor2D, b: Tensor2D): Tensor2D =>
  differentiable([a, b], {
    forward: () => ({ value: tf.mul<Tensor2D>(a, b), saved: [a, b] }),
    backward: (dy, [x, y], needs) => [
      needs[0] ? tf.mul(dy, y) : null,
      needs[1] ? tf.mul(dy, x) : null,
    ],
  });

/**
 * Returns a tensor with entries 0 with probability `rate`, else 1/(1 − rate). They are drawn from
 * `random`, and so are the same on every backend.
 */
export function dropoutMask<R extends Rank = Rank>(
  shape: ShapeMap[R],
  { rate, random }: NonNullable<ForwardContext['dropout']>,
): Tensor<R> {
  const values = new Float32Array(tf.util.sizeFromShape(shape));
  for (let i = 0; i < values.length; i++) values[i] = random.uniform() < rate ? 0 : 1 / (1 - rate);
  return markConstant(tf.tensor<R>(values, shape));
}

/** Returns x times a new dropout mask; x itself if `setting` is undefined. */
export function dropout<T extends Tensor>(x: T, setting: ForwardContext['dropout']): T {
  return setting === undefined ? x : tf.mul(x, dropoutMask(x.shape, setting));
}

export interface Activation {
  (u: Tensor2D): Tensor2D;
  /** The fused operation for the activation, with or without a gate. Absent if there is none. */
  readonly fused?: FusedActivation;
}

/** Returns an activation: `fused` on backends with fused operations, `composed` on others. */
const fusedOrComposed = (fused: FusedActivation, composed: (u: Tensor2D) => Tensor2D): Activation =>
  Object.assign(
    (u: Tensor2D): Tensor2D =>
      hasFused()
        ? differentiable([u], {
            forward: () => ({ value: fusedActivation(u, fused), saved: [u] }),
            backward: (dy, [x]) => [fusedActivationGradient(dy, x, fused)],
          })
        : composed(u),
    { fused },
  );

/**
 * u · Φ(u) = u · ½(1 + erf(u/√2)), with Φ the distribution function of N(0, 1) and φ its density;
 * derivative Φ(u) + u·φ(u). (S, m) → (S, m).
 */
export const gelu = fusedOrComposed('gelu', (u) =>
  differentiable([u], {
    forward: () => {
      const cdf = tf.add(tf.mul(tf.erf(tf.mul(u, Math.SQRT1_2)), 0.5), 0.5);
      return { value: tf.mul<Tensor2D>(u, cdf), saved: [u, cdf] };
    },
    backward: (dy, [x, cdf]) => {
      const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
      return [tf.mul(dy, tf.add(cdf, tf.mul(x, density)))];
    },
  }),
);

const TANH_SCALE = Math.sqrt(2 / Math.PI),
  CUBIC = 0.044715;

/**
 * ½u(1 + t) with t = tanh(√(2/π)(u + 0.044715u³)), the `gelu_new` of transformers;  derivative
 * ½(1 + t) + ½u(1 − t²)√(2/π)(1 + 3·0.044715u²). (S, m) → (S, m).
 */
export const geluTanh = fusedOrComposed('geluTanh', (u) =>
  differentiable([u], {
    forward: () => {
      const square = tf.square(u);
      const inner = tf.mul(u, tf.add(tf.mul(square, TANH_SCALE * CUBIC), TANH_SCALE));
      const half = tf.mul(tf.add(tf.tanh(inner), 1), 0.5); // ½(1 + t)
      return { value: tf.mul<Tensor2D>(u, half), saved: [u, half] };
    },
    backward: (dy, [x, half]) => {
      // ½(1 − t²) = 2·½(1 + t)·½(1 − t)
      const slope = tf.mul(tf.mul(half, tf.sub(1, half)), 2);
      const inner = tf.add(tf.mul(tf.square(x), 3 * TANH_SCALE * CUBIC), TANH_SCALE);
      return [tf.mul(dy, tf.add(half, tf.mul(tf.mul(x, slope), inner)))];
    },
  }),
);

/** u·σ(u);  derivative σ + uσ(1 − σ). (S, m) → (S, m). */
export const silu = fusedOrComposed('silu', (u) =>
  differentiable([u], {
    forward: () => {
      const gate = tf.sigmoid(u);
      return { value: tf.mul<Tensor2D>(u, gate), saved: [u, gate] };
    },
    backward: (dy, [x, gate]) => [tf.mul(dy, tf.mul(gate, tf.add(tf.mul(x, tf.sub(1, gate)), 1)))],
  }),
);

/** Returns the activation y = activate(u), whose derivative is slope(y). (S, m) → (S, m). */
const slopedByValue =
  (activate: (u: Tensor2D) => Tensor2D, slope: (y: Tensor2D) => Tensor) =>
  (u: Tensor2D): Tensor2D =>
    differentiable([u], {
      forward: () => {
        const y = activate(u);
        return { value: y, saved: [y] };
      },
      backward: (dy, [y]) => [tf.mul(dy, slope(y))],
    });

/** max(u, 0). */
export const relu = slopedByValue(tf.relu, tf.step);

/** tanh u;  derivative 1 − tanh². */
export const tanh = slopedByValue(tf.tanh, (y) => tf.sub(1, tf.square(y)));

export const activations: ReadonlyMap<string, Activation> = new Map(
  Object.entries<Activation>({
    gelu,
    gelu_new: geluTanh,
    gelu_pytorch_tanh: geluTanh,
    relu,
    silu,
    swish: silu,
    tanh,
  }),
);

/**
 * act(gate) ⊙ up, (S, m).
 * @param parts gate and up, (S, m) each; or one tensor, gate's columns before up's, (S, 2m)
 */
export function gated(act: Activation, parts: Gated): Tensor2D {
  const { fused } = act;
  if (fused !== undefined && hasFused())
    return differentiable(parts, {
      forward: () => ({ value: fusedGated(parts, fused), saved: parts }),
      backward: (dy, saved) => fusedGatedGradient(dy, saved, fused),
    });
  const [first, second] = parts,
    m = first.shape[1] / 2;
  return second === undefined
    ? product(act(columns(first, 0, m)), columns(first, m, m))
    : product(act(first), second);
}

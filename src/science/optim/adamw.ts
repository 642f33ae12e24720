/** AdamW (Loshchilov & Hutter 2019), equal to torch.optim.AdamW. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { fusedAdamw, hasFused } from '../../compute/fused.ts';
import { named } from '../lookup.ts';
import { disposeOf, type Optimizer, type Tensors } from './types.ts';

export interface AdamwSettings {
  readonly weightDecay: number;
  /** Whether a parameter decays. Default: all do. */
  readonly decays?: (name: string) => boolean;
  /** What the learning rate of a parameter is multiplied by. Default: 1. */
  readonly rate?: (name: string) => number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

export interface AdamwState {
  readonly step: number;
  readonly first: Tensors;
  readonly second: Tensors;
}

/** The tensors whose names begin with the prefix, under the rest of their names. */
const below = (prefix: string, tensors: Tensors): Tensors =>
  new Map(
    [...tensors]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, tensor]) => [name.slice(prefix.length), tensor]),
  );

const zeros = (parameters: Tensors): Map<string, Tensor> =>
  new Map([...parameters].map(([name, p]) => [name, tf.keep(tf.zerosLike(p))]));

/** What an update of `adamwUpdate` shares with those of other parameters. */
export interface AdamwStep {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** √(1 − β₂ᵗ) */
  readonly rootCorrection: number;
}

const asTensor = (factor: number | Tensor): Tensor =>
  typeof factor === 'number' ? tf.scalar(factor) : factor;

const times = (x: Tensor, by: number | Tensor): Tensor => (by === 1 ? x : tf.mul(x, by));

/**
 * The update rule of `adamw` for one tensor. To be called within tf.tidy.
 * @param decay 1 − lr·wd: a number, or a tensor to be broadcast along the rows or columns of p
 * @param size lr/(1 − β₁ᵗ), likewise
 * @returns the new p, m and v
 */
export function adamwUpdate(
  [p, g, m0, v0]: readonly [p: Tensor, g: Tensor, m: Tensor, v: Tensor],
  decay: number | Tensor,
  size: number | Tensor,
  { beta1, beta2, epsilon, rootCorrection }: AdamwStep,
): [p: Tensor, m: Tensor, v: Tensor] {
  if (hasFused()) {
    const constants = [beta1, 1 - beta1, beta2, 1 - beta2, rootCorrection, epsilon];
    return fusedAdamw([p, g, m0, v0], asTensor(decay), asTensor(size), tf.tensor1d(constants));
  }
  const m = tf.add(tf.mul(m0, beta1), tf.mul(g, 1 - beta1));
  const v = tf.add(tf.mul(v0, beta2), tf.mul(tf.square(g), 1 - beta2));
  const denominator = tf.add(tf.div(tf.sqrt(v), rootCorrection), epsilon);
  return [tf.sub(times(p, decay), tf.mul(tf.div(m, denominator), size)), m, v];
}

/**
 *     p ← p·(1 − lr·wd);  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²
 *     p ← p − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)
 *
 * Decay is decoupled and applies to the parameters that `decays` selects; ε is added outside the
 * root. lr is the parameter's own: with `rate`, that of a group of torch's optimiser.
 */
export function adamw({
  weightDecay,
  decays = () => true,
  rate = () => 1,
  beta1,
  beta2,
  epsilon,
}: AdamwSettings): Optimizer<AdamwState> {
  return {
    init: (parameters) => ({ step: 0, first: zeros(parameters), second: zeros(parameters) }),
    update: (parameters, gradients, state, learningRate) => {
      const step = state.step + 1;
      const rootCorrection = Math.sqrt(1 - beta2 ** step);
      const updated = new Map<string, Tensor>(),
        first = new Map<string, Tensor>(),
        second = new Map<string, Tensor>();
      for (const [name, p] of parameters) {
        const own = learningRate * rate(name),
          stepSize = own / (1 - beta1 ** step);
        const g = named(gradients, name),
          m0 = named(state.first, name),
          v0 = named(state.second, name);
        const [next, m, v] = tf.tidy(() =>
          adamwUpdate([p, g, m0, v0], decays(name) ? 1 - own * weightDecay : 1, stepSize, {
            beta1,
            beta2,
            epsilon,
            rootCorrection,
          }),
        );
        updated.set(name, tf.keep(next));
        first.set(name, tf.keep(m));
        second.set(name, tf.keep(v));
        disposeOf(p, g, m0, v0);
      }
      return { parameters: updated, state: { step, first, second } };
    },
    tensors: (state) => [...state.first.values(), ...state.second.values()],
    named: ({ first, second }) =>
      new Map([
        ...[...first].map(([name, m]) => [`first/${name}`, m] as const),
        ...[...second].map(([name, v]) => [`second/${name}`, v] as const),
      ]),
    restore: (tensors, step) => ({
      step,
      first: below('first/', tensors),
      second: below('second/', tensors),
    }),
  };
}

/** AdamW, SGD and learning-rate schedules, equal to torch.optim's and to transformers'. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../base/lookup.ts';
import { type AdamwParts, fusedAdamw, hasFused } from '../../tensor/fused.ts';
import type { Tensors } from '../models/network.ts';

export interface Optimizer<State> {
  init(parameters: Tensors): State;
  /**
   * Returns new parameters and state in new tensors. Disposes of a parameter's old value, its
   * gradient and its old state as soon as its new value exists, so that memory never holds two of
   * everything.
   */
  update(
    parameters: Tensors,
    gradients: Tensors,
    state: State,
    learningRate: number,
  ): { readonly parameters: Map<string, Tensor>; readonly state: State };
  /** Returns the tensors of the state by name, to be saved or disposed of. */
  named(state: State): Tensors;
  /** Returns the state after `step` updates, from the tensors that `named` returned. */
  restore(tensors: Tensors, step: number): State;
}

const disposeTensors = (...tensors: readonly Tensor[]): void =>
  tensors.forEach((tensor) => tensor.dispose());

export interface AdamwSettings {
  readonly weightDecay: number;
  /** Whether weight decay applies to a parameter. Default: it applies to all. */
  readonly decays?: (name: string) => boolean;
  /** The factor on the learning rate of a parameter. Default: 1. */
  readonly rate?: (name: string) => number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

interface AdamwState {
  readonly step: number;
  readonly first: Tensors;
  readonly second: Tensors;
}

const underPrefix = (prefix: string, tensors: Tensors): Tensors =>
  new Map(
    [...tensors]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, tensor]) => [name.slice(prefix.length), tensor]),
  );

const zeros = (parameters: Tensors): Map<string, Tensor> =>
  new Map([...parameters].map(([name, p]) => [name, tf.keep(tf.zerosLike(p))]));

interface AdamwStep {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** √(1 − β₂ᵗ), where t is the number of the update, from 1. */
  readonly rootCorrection: number;
}

interface Update {
  readonly name: string;
  readonly parts: AdamwParts;
  /** 1 − lr·wd; 1 for a parameter that does not decay. */
  readonly decay: number;
  /** lr/(1 − β₁ᵗ), where lr is the parameter's own learning rate. */
  readonly size: number;
}

/**
 * The most entries that are updated together: their old and new values are all in memory at once.
 */
const TOGETHER = 1 << 20;

/** Splits updates, in order, into lists of at most TOGETHER entries, or of one larger update. */
function inChunks(updates: readonly Update[]): Update[][] {
  const lists: Update[][] = [];
  let entries = Infinity;
  for (const update of updates) {
    const { size } = update.parts[0];
    entries += size;
    if (entries > TOGETHER) {
      lists.push([]);
      entries = size;
    }
    lists.at(-1)!.push(update);
  }
  return lists;
}

/** Returns the new p, m and v of each update. To be called within tf.tidy. */
function updateAll(
  updates: readonly Update[],
  step: AdamwStep,
): [p: Tensor, m: Tensor, v: Tensor][] {
  if (!hasFused())
    return updates.map(({ parts, decay, size }) => adamwUpdate(parts, decay, size, step));
  const { beta1, beta2, epsilon, rootCorrection } = step;
  const shared = [beta1, 1 - beta1, beta2, 1 - beta2, rootCorrection, epsilon];
  return fusedAdamw(
    updates.map(({ parts }) => parts),
    tf.tensor2d(updates.map(({ decay, size }) => [...shared, decay, size])),
  );
}

/**
 * Returns the new p, m and v of one tensor by the rule of `adamw`, in operations of TensorFlow. To
 * be called within tf.tidy. `decay` and `size` are as in `Update`.
 */
export function adamwUpdate(
  [p, g, m0, v0]: AdamwParts,
  decay: number,
  size: number,
  { beta1, beta2, epsilon, rootCorrection }: AdamwStep,
): [p: Tensor, m: Tensor, v: Tensor] {
  const m = tf.add(tf.mul(m0, beta1), tf.mul(g, 1 - beta1));
  const v = tf.add(tf.mul(v0, beta2), tf.mul(tf.square(g), 1 - beta2));
  const denominator = tf.add(tf.div(tf.sqrt(v), rootCorrection), epsilon);
  const decayed = decay === 1 ? p : tf.mul(p, decay);
  return [tf.sub(decayed, tf.mul(tf.div(m, denominator), size)), m, v];
}

/**
 * Returns the optimiser AdamW:
 *
 *     p ← p·(1 − lr·wd);  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²
 *     p ← p − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)
 *
 * Decay is decoupled and applies to the parameters that `decays` selects; ε is added outside the
 * root. lr is the learning rate times the parameter's `rate`, as if each rate had a parameter group
 * of torch's optimiser.
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
      const next = new Map<string, Tensor>(),
        first = new Map<string, Tensor>(),
        second = new Map<string, Tensor>();
      const updates = [...parameters].map(([name, p]): Update => {
        const own = learningRate * rate(name);
        return {
          name,
          parts: [p, named(gradients, name), named(state.first, name), named(state.second, name)],
          decay: decays(name) ? 1 - own * weightDecay : 1,
          size: own / (1 - beta1 ** step),
        };
      });
      for (const list of inChunks(updates)) {
        const found = tf.tidy(() => updateAll(list, { beta1, beta2, epsilon, rootCorrection }));
        for (const [k, { name, parts }] of list.entries()) {
          const [p, m, v] = at(found, k);
          next.set(name, tf.keep(p));
          first.set(name, tf.keep(m));
          second.set(name, tf.keep(v));
          disposeTensors(...parts);
        }
      }
      return { parameters: next, state: { step, first, second } };
    },
    named: ({ first, second }) =>
      new Map([
        ...[...first].map(([name, m]) => [`first/${name}`, m] as const),
        ...[...second].map(([name, v]) => [`second/${name}`, v] as const),
      ]),
    restore: (tensors, step) => ({
      step,
      first: underPrefix('first/', tensors),
      second: underPrefix('second/', tensors),
    }),
  };
}

/**
 * Returns SGD without momentum: p ← p·(1 − lr·wd) − lr·g. PyTorch's adds wd·p to g, which is the
 * same. `decays` and `rate` are as in `adamw`.
 */
export function sgd({
  weightDecay,
  decays = () => true,
  rate = () => 1,
}: Pick<AdamwSettings, 'weightDecay' | 'decays' | 'rate'>): Optimizer<null> {
  return {
    init: () => null,
    update: (parameters, gradients, _state, learningRate) => {
      const updated = new Map<string, Tensor>();
      for (const [name, p] of parameters) {
        const g = named(gradients, name),
          own = learningRate * rate(name);
        updated.set(
          name,
          tf.keep(
            tf.tidy(() => {
              const decayed =
                weightDecay === 0 || !decays(name) ? p : tf.mul(p, 1 - own * weightDecay);
              return tf.sub(decayed, tf.mul(g, own));
            }),
          ),
        );
        disposeTensors(p, g);
      }
      return { parameters: updated, state: null };
    },
    named: () => new Map(),
    restore: () => null,
  };
}

export interface Schedule {
  readonly kind: 'constant' | 'linear' | 'cosine';
  /** Number of steps over which the rate rises linearly from 0. */
  readonly warmup: number;
  readonly steps: number;
}

/**
 * Returns the factor on the learning rate at a step, counted from 0. It rises from 0 during
 * warm-up, and then stays 1 or falls to 0, along a line or half a cosine wave.
 */
export function scheduleFactor({ kind, warmup, steps }: Schedule, step: number): number {
  if (step < warmup) return step / Math.max(1, warmup);
  const progress = (step - warmup) / Math.max(1, steps - warmup);
  switch (kind) {
    case 'constant':
      return 1;
    case 'linear':
      return Math.max(0, 1 - progress);
    case 'cosine':
      return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
  }
}

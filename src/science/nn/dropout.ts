/** Dropout, from a seeded stream of ours so that every backend drops the same entries. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { markConstant } from '../tensor/differentiable.ts';
import type { ForwardContext } from './types.ts';

/** Entries 0 with probability `rate`, else 1/(1 − rate). */
export function dropoutMask(
  shape: readonly number[],
  { rate, random }: NonNullable<ForwardContext['dropout']>,
): Tensor {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  for (let i = 0; i < values.length; i++) values[i] = random.uniform() < rate ? 0 : 1 / (1 - rate);
  return markConstant(tf.tensor(values, shape.slice()));
}

/** x under dropout while training with it, else x itself. */
export function dropout<T extends Tensor>(x: T, setting: ForwardContext['dropout']): T {
  return setting === undefined ? x : tf.mul(x, dropoutMask(x.shape, setting));
}

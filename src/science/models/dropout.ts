/** Dropout from our own seeded stream, so that every backend drops the same entries. */
import type { Rank, ShapeMap, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { markConstant } from '../../tensor/differentiable.ts';
import type { ForwardContext } from './types.ts';

/** A mask whose entries are 0 with probability `rate`, else 1/(1 − rate). */
export function dropoutMask<R extends Rank = Rank>(
  shape: ShapeMap[R],
  { rate, random }: NonNullable<ForwardContext['dropout']>,
): Tensor<R> {
  const values = new Float32Array(tf.util.sizeFromShape(shape));
  for (let i = 0; i < values.length; i++) values[i] = random.uniform() < rate ? 0 : 1 / (1 - rate);
  return markConstant(tf.tensor<R>(values, shape));
}

/** x with dropout applied; x itself where there is no dropout. */
export function dropout<T extends Tensor>(x: T, setting: ForwardContext['dropout']): T {
  return setting === undefined ? x : tf.mul(x, dropoutMask(x.shape, setting));
}

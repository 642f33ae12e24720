/** Concatenating tensors, and splitting them again. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/** Returns the tensors concatenated along the axis; for a single tensor, another handle on it. */
export function joined(parts: readonly Tensor[], axis: number): Tensor {
  const [only] = parts;
  return only !== undefined && parts.length === 1 ? tf.clone(only) : tf.concat([...parts], axis);
}

/** The inverse of `joined`, for parts of these extents along the axis. */
export const separated = (whole: Tensor, extents: readonly number[], axis: number): Tensor[] =>
  extents.length === 1 ? [tf.clone(whole)] : tf.split(whole, [...extents], axis);

/** What the golden files of operations (fused.json, products.json) hold. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

export interface Flat {
  readonly shape: number[];
  readonly values: number[];
}

export interface Case {
  readonly inputs: readonly Flat[];
  readonly dy: Flat;
  readonly value: Flat;
  readonly gradients: readonly Flat[];
}

export const tensorOf = ({ shape, values }: Flat): Tensor => tf.tensor(values, shape);

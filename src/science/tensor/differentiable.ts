/**
 * Operations with a derivative of our own. tf.customGrad computes the gradient of every input; here an operation learns
 * which inputs need one, and what stems from constants alone needs none: nothing frozen is differentiated, and no
 * gradient is taken below the first trained layer.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { processWide } from './process-wide.ts';

// A tensor that isn't listed counts as variable: forgetting to list one costs time, never a gradient.
const constants = processWide('tensor.constants', () => new WeakSet<Tensor>());

/** Declares that nothing is ever differentiated with respect to this tensor. */
export function markConstant<T extends Tensor>(tensor: T): T {
  constants.add(tensor);
  return tensor;
}

export const isConstant = (tensor: Tensor): boolean => constants.has(tensor);

const frugal = processWide('tensor.frugal', () => ({ depth: 0 }));

/**
 * Runs a gradient computation in which each operation, once its own gradient is taken, frees what it saved and the
 * gradient it was handed. For one backward pass alone, and only with respect to tensors that no operation made.
 */
export function frugally<T>(run: () => T): T {
  frugal.depth++;
  try {
    return run();
  } finally {
    frugal.depth--;
  }
}

export interface Operation {
  /**
   * Its value; `save`, called once, keeps all tensors that `backward` uses, made here or elsewhere: what else the forward
   * pass made is gone by then.
   */
  forward(save: (...tensors: Tensor[]) => void): Tensor;
  /** dy: the value's shape. One entry an input, in its shape; what `needs` denies may be null. */
  backward(
    dy: Tensor,
    saved: readonly Tensor[],
    needs: readonly boolean[],
  ): readonly (Tensor | null)[];
}

/** The operation's value, differentiable once in every input that isn't constant. */
export function differentiable(inputs: readonly Tensor[], operation: Operation): Tensor {
  const needs = inputs.map((input) => !isConstant(input));
  if (!needs.includes(true)) return markConstant(tf.tidy(() => operation.forward(() => undefined)));
  const op = tf.customGrad((...args: (Tensor | tf.GradSaveFunc)[]) => {
    const save = args[args.length - 1] as tf.GradSaveFunc;
    const value = operation.forward((...tensors) => save(tensors));
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
      const gradients = tf.tidy(() =>
        operation.backward(dy, saved, needs).filter((gradient, i): gradient is Tensor => {
          if (needs[i] === true && gradient === null)
            throw new Error('an operation returned no gradient for an input that needs one');
          return needs[i] === true;
        }),
      );
      if (frugal.depth > 0)
        for (const tensor of [dy, ...saved]) if (!gradients.includes(tensor)) tensor.dispose();
      return gradients;
    };
    return { value, gradFunc };
  });
  return op(...inputs.filter((_, i) => needs[i]));
}

/** a + b in one shape; constant where both are. */
export function add<T extends Tensor>(a: T, b: T): T {
  const sum = tf.add<T>(a, b);
  return isConstant(a) && isConstant(b) ? markConstant(sum) : sum;
}

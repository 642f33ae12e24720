/**
 * Operations that bring their own derivative. tf.customGrad computes the gradient of every input;
 * here an operation is told which inputs need one, and nothing that depends on constants alone
 * does. So no frozen parameter is ever differentiated, and the backward pass ends at the first
 * trained layer.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { processWide } from './process-wide.ts';
import { held, isRecording, record, unrecorded } from './tape.ts';

// A tensor that is not listed counts as variable: forgetting to list one costs time, never a
// gradient.
const constants = processWide('tensor.constants', () => new WeakSet<Tensor>());

/** Declares that nothing is ever differentiated with respect to this tensor. Returns the tensor. */
export function markConstant<T extends Tensor>(tensor: T): T {
  constants.add(tensor);
  return tensor;
}

export const isConstant = (tensor: Tensor): boolean => constants.has(tensor);

const frugal = processWide('tensor.frugal', () => ({ depth: 0 }));

/**
 * Runs a gradient computation in which each operation frees its saved tensors and its incoming
 * gradient as soon as it has returned its own gradients. Valid for a single backward pass, with
 * respect to tensors that no operation produced.
 */
export function frugally<T>(run: () => T): T {
  frugal.depth++;
  try {
    return run();
  } finally {
    frugal.depth--;
  }
}

export interface Operation<Value extends Tensor, Saved extends readonly Tensor[]> {
  /**
   * Computes the value. `saved` lists every tensor that `backward` uses, whether made here or
   * elsewhere: all other tensors of the forward pass are freed before `backward` runs.
   */
  forward(): { readonly value: Value; readonly saved: Saved };
  /**
   * Returns one gradient for each input, in that input's shape; null is allowed where `needs` is
   * false.
   * @param dy gradient of the loss with respect to the value, in the value's shape
   * @param needs for each input, whether its gradient is needed; false for an absent one
   */
  backward(dy: Value, saved: Saved, needs: readonly boolean[]): readonly (Tensor | null)[];
}

/**
 * Returns the operation's value, which can be differentiated once with respect to every input that
 * is not constant. Where all inputs are constant, so is the value.
 * @param inputs null stands for an input that the operation does without, such as a bias
 */
export function differentiable<Value extends Tensor, const Saved extends readonly Tensor[]>(
  inputs: readonly (Tensor | null)[],
  operation: Operation<Value, Saved>,
): Value {
  const needs = inputs.map((input) => input !== null && !isConstant(input));
  if (!needs.includes(true)) return markConstant(tf.tidy(() => operation.forward().value));
  if (!isRecording()) return tf.tidy(() => operation.forward().value);
  const wanted = inputs.filter((input, i): input is Tensor => needs[i] === true),
    own: Tensor[] = [];
  const [value, saved] = unrecorded(() => {
    let toSave: Tensor[] = [];
    const result = tf.tidy(() => {
      const made = operation.forward();
      toSave = made.saved.map((tensor) => {
        // Constants that are kept, such as frozen weights, outlive the backward pass.
        if (isConstant(tensor) && tensor.kept) return tensor;
        const other = held(tensor);
        own.push(other);
        return other;
      });
      return made.value;
    });
    return [result, toSave as readonly Tensor[] as Saved] as const;
  });
  record(wanted, value, own, (dy) => {
    const gradients = tf.tidy(() =>
      operation.backward(dy as Value, saved, needs).filter((gradient, i): gradient is Tensor => {
        if (needs[i] === true && gradient === null)
          throw new Error('an operation returned no gradient for an input that needs one');
        return needs[i] === true;
      }),
    );
    if (frugal.depth > 0)
      for (const tensor of [dy, ...own]) if (!gradients.includes(tensor)) tensor.dispose();
    return gradients;
  });
  return value;
}

/** a + b, both in one shape. Constant where both are. */
export function add<T extends Tensor>(a: T, b: T): T {
  const sum = tf.add<T>(a, b);
  return isConstant(a) && isConstant(b) ? markConstant(sum) : sum;
}

import type { Scalar, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { named } from '../../base/lookup.ts';
import type { ResumableStream } from '../../base/random.ts';
import { differentiate, withEagerDisposal } from '../../tensor/differentiable.ts';
import { scalarOf } from '../../tensor/rows.ts';
import { crossEntropy, meanSquaredError } from '../models/loss.ts';
import type { ForwardOptions, Network, Tensors } from '../models/network.ts';
import { isRegression } from '../models/outputs.ts';
import type { TokenRow } from '../models/types.ts';
import { disposeAll } from './trained-values.ts';

export interface Batch {
  readonly rows: readonly TokenRow[];
  /** What each output is to predict (`targetsOf`). */
  readonly labels: readonly number[];
  /** Whether each row comes from the attack that changes training. Default: none does. */
  readonly poisoned?: readonly boolean[];
}

/** A loss, and its gradients by trained parameter. The caller disposes of both. */
export interface LossAndGradients {
  readonly loss: Scalar;
  readonly gradients: Map<string, Tensor>;
  /** The part that is not cross-entropy. Absent where the objective never has one. */
  readonly penalty?: number;
}

/**
 * What a batch minimises. A step takes the mean over its batches (`train.accumulate`), clips it and
 * updates the parameters. An objective is called outside of tf.tidy and must leave no tensors
 * behind except its result. It must apply the class weights of `options`, and pass the streams of
 * dropout on to `forward`: a second pass with the same `adapterRandom` has the same masks in the
 * adapter. The operations of the network can be differentiated once.
 * @param trained every trained parameter by name, to be passed to `forward`
 */
export type Objective = (
  network: Network,
  trained: Tensors,
  batch: Batch,
  options: LossOptions,
) => LossAndGradients;

export interface LossOptions extends Omit<
  ForwardOptions,
  'onLinear' | 'tap' | 'layerwise' | 'dropout'
> {
  /**
   * The masks of a batch are drawn from `random`, and those of the next batch after them. An
   * objective can repeat masks in several passes by restoring the state of the stream.
   */
  readonly dropout?: { readonly rate: number; readonly random: ResumableStream };
  readonly classWeights?: readonly number[];
}

/** Computes the mean cross-entropy, weighted by class if asked, or squared error of numbers. */
export function lossAndGradients(
  network: Network,
  trained: Tensors,
  { rows, labels }: Batch,
  { classWeights, ...options }: LossOptions = {},
): LossAndGradients {
  return gradientsOf(trained, () => {
    const outputs = network.forward(rows, trained, options);
    return isRegression({ head: network.architecture.head, classes: network.classes })
      ? meanSquaredError(outputs, labels)
      : crossEntropy(outputs, labels, classWeights);
  });
}

/**
 * Returns the loss that `lossOf` computes, or several, and the gradient of their sum with respect
 * to each of `trained`. Intermediate tensors are freed.
 */
export function gradientsOf<Loss extends Tensor>(
  trained: Tensors,
  lossOf: () => Loss,
): { readonly loss: Loss; readonly gradients: Map<string, Tensor> } {
  const { value, grads } = withEagerDisposal(() => differentiate(lossOf, [...trained.values()]));
  const gradients = new Map<string, Tensor>();
  // As in PyTorch, a parameter that does not affect the loss (such as the table of an unused token
  // type) has gradient zero.
  [...trained].forEach(([name, { shape }], i) => gradients.set(name, grads[i] ?? tf.zeros(shape)));
  return { loss: value, gradients };
}

interface StepOptions extends Omit<LossOptions, 'adapterRandom'> {
  /** The random streams of the adapter for a batch of the step, counted from zero. */
  readonly adapterRandom: (batch: number) => NonNullable<ForwardOptions['adapterRandom']>;
  /** Groups gradients for the optimiser, in new tensors. */
  readonly pack: (gradients: Tensors) => Map<string, Tensor>;
  /** Default: `lossAndGradients`. */
  readonly objective?: Objective;
}

/**
 * Returns the loss of a step and its grouped gradients, which the caller disposes of: the mean over
 * its batches, whatever their number of rows. accelerate and transformers' Trainer accumulate in
 * this way for a model that computes its own mean (with model_accepts_loss_kwargs false; otherwise
 * Trainer 5.24 sums for a BERT classifier). Disposes of `trained` and empties it.
 */
export function stepGradients(
  network: Network,
  trained: Map<string, Tensor>,
  parts: readonly Batch[],
  { adapterRandom, pack, objective = lossAndGradients, ...options }: StepOptions,
): { readonly loss: number; readonly penalty?: number; readonly packed: Map<string, Tensor> } {
  let total = 0,
    penalties: number | null = null,
    sum: Map<string, Tensor> | null = null;
  for (const [i, part] of parts.entries()) {
    const { loss, gradients, penalty } = objective(network, trained, part, {
      ...options,
      adapterRandom: adapterRandom(i),
    });
    if (i === parts.length - 1) {
      disposeAll(trained);
      trained.clear();
    }
    const packed = pack(gradients);
    disposeAll(gradients);
    total += scalarOf(loss);
    loss.dispose();
    if (penalty !== undefined) penalties = (penalties ?? 0) + penalty;
    sum = sum === null ? packed : combined(sum, packed, (a, b) => tf.add(a, b));
  }
  if (sum === null) throw new RangeError('a step has at least one batch');
  return {
    loss: total / parts.length,
    ...(penalties === null ? {} : { penalty: penalties / parts.length }),
    packed: parts.length === 1 ? sum : combined(sum, sum, (a) => tf.div(a, parts.length)),
  };
}

/** Applies `of` to the two tensors of each name, in new tensors, and disposes of the given ones. */
function combined(
  a: ReadonlyMap<string, Tensor>,
  b: ReadonlyMap<string, Tensor>,
  of: (x: Tensor, y: Tensor) => Tensor,
): Map<string, Tensor> {
  const out = new Map([...a].map(([name, x]) => [name, tf.keep(of(x, named(b, name)))]));
  disposeAll(a, b === a ? [] : b);
  return out;
}

/**
 * g ← g · min(1, bound/(‖g‖₂ + 1e-6)), with ‖g‖₂ over the entries of all gradients. Returns new
 * tensors. As torch.nn.utils.clip_grad_norm_.
 */
export function clipByGlobalNorm(gradients: Tensors, bound: number): Map<string, Tensor> {
  const factor = tf.tidy(() => {
    const squares = [...gradients.values()].map((gradient) => tf.sum(tf.square(gradient)));
    return tf.minimum(tf.div(bound, tf.add(tf.sqrt(tf.addN(squares)), 1e-6)), 1);
  });
  const clipped = new Map(
    [...gradients].map(([name, gradient]) => [name, tf.mul(gradient, factor)]),
  );
  factor.dispose();
  return clipped;
}

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
  /**
   * The part of the loss that is not cross-entropy. Absent if the objective never has such a part.
   */
  readonly penalty?: number;
}

/**
 * What a batch minimises. A step takes the mean of the gradients of its batches
 * (`train.accumulate`), clips this mean and updates the parameters. An objective is called outside
 * of tf.tidy and must leave no tensors behind except its result. It must apply the class weights of
 * `options`, and pass the streams of dropout on to `forward`: a second pass with the same
 * `adapterRandom` has the same masks in the adapter. The network has first derivatives only: a
 * gradient can't be differentiated again.
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
   * All masks are drawn from `random`, batch after batch. An objective can repeat masks in several
   * passes by restoring the state of the stream.
   */
  readonly dropout?: { readonly rate: number; readonly random: ResumableStream };
  readonly classWeights?: readonly number[];
}

/**
 * Computes the loss of a batch and its gradients. The loss is the mean cross-entropy, weighted by
 * class if asked, or for regression the mean squared error.
 */
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
 * Returns what `lossOf` computes (one loss, or a tensor of several losses) and, by the names in
 * `trained`, the gradients of its sum. Intermediate tensors are freed.
 */
export function gradientsOf<Loss extends Tensor>(
  trained: Tensors,
  lossOf: () => Loss,
): { readonly loss: Loss; readonly gradients: Map<string, Tensor> } {
  const { value, grads } = withEagerDisposal(() => differentiate(lossOf, [...trained.values()]));
  const gradients = new Map<string, Tensor>();
  // A parameter that does not affect the loss has gradient zero.
  [...trained].forEach(([name, { shape }], i) => gradients.set(name, grads[i] ?? tf.zeros(shape)));
  return { loss: value, gradients };
}

interface StepOptions extends Omit<LossOptions, 'adapterRandom'> {
  /**
   * Returns the adapter's random streams for a batch, given the batch's number in the step, from
   * zero.
   */
  readonly adapterRandom: (batch: number) => NonNullable<ForwardOptions['adapterRandom']>;
  /** Groups gradients for the optimiser, in new tensors. */
  readonly pack: (gradients: Tensors) => Map<string, Tensor>;
  /** Default: `lossAndGradients`. */
  readonly objective?: Objective;
}

/**
 * Returns the loss, the penalty and the gradients of a step. Each is the mean over the step's
 * batches, in which a smaller batch counts as much as a full one. The penalty is absent if no batch
 * has one. `packed` are the gradients in groups, which the caller disposes of. Disposes of the
 * tensors in `trained` and empties it. Throws RangeError for a step without batches.
 *
 * accelerate and transformers' Trainer accumulate in this way for a model that computes its own
 * mean (with model_accepts_loss_kwargs false; otherwise Trainer 5.24 sums for a BERT classifier).
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
    sum = sum === null ? packed : combineByName(sum, packed, (a, b) => tf.add(a, b));
  }
  if (sum === null) throw new RangeError('a step has at least one batch');
  return {
    loss: total / parts.length,
    ...(penalties === null ? {} : { penalty: penalties / parts.length }),
    packed: parts.length === 1 ? sum : combineByName(sum, sum, (a) => tf.div(a, parts.length)),
  };
}

/**
 * Returns `of(x, y)` for each name, where x is its tensor in `a` and y in `b`, in new tensors.
 * Disposes of `a` and `b`, which may be the same map.
 */
function combineByName(
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

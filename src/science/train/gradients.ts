/** The loss of a batch, or of a step's batches, and its gradient in the trained parameters. */
import type { Scalar, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { ResumableStream } from '../../random/random.ts';
import { crossEntropy } from '../nn/loss.ts';
import type { ForwardOptions, Network, Tensors } from '../nn/network.ts';
import type { TokenRow } from '../nn/types.ts';
import { frugally } from '../tensor/differentiable.ts';
import { disposeAll } from './trained-values.ts';

export interface Batch {
  readonly rows: readonly TokenRow[];
  readonly labels: readonly number[];
  /** By row: whether the attack that touches the training made it. Left out: none. */
  readonly poisoned?: readonly boolean[];
}

/** A batch's loss and d/dp for every trained p, by name. The caller disposes of both. */
export interface LossAndGradients {
  readonly loss: Scalar;
  readonly gradients: Map<string, Tensor>;
  /** What of the loss is no cross-entropy; left out where it never has such a part. */
  readonly penalty?: number;
}

/**
 * What a batch lowers; the step takes the mean over its batches (`train.accumulate`), clips and updates. Called outside of
 * tf.tidy; it leaves no other tensor behind. The class weights of `options` are its own to apply, and those of `forward`
 * (dropout's streams) its own to hand on: a second pass with the same `adapterRandom` has the same masks of the adapter.
 * Operations are differentiable once.
 * @param trained every trained parameter by name, to be passed on to `forward`
 */
export type Objective = (
  network: Network,
  trained: Tensors,
  batch: Batch,
  options: LossOptions,
) => LossAndGradients;

export interface LossOptions extends Omit<ForwardOptions, 'tap' | 'layerwise' | 'dropout'> {
  /** Where the stream stands after a batch, the next one's masks begin. Its state lets an objective have the same masks in several passes. */
  readonly dropout?: { readonly rate: number; readonly random: ResumableStream };
  readonly classWeights?: readonly number[];
}

/** The mean cross-entropy over the batch, weighted by class where there are weights. */
export function lossAndGradients(
  network: Network,
  trained: Tensors,
  { rows, labels }: Batch,
  { classWeights, ...options }: LossOptions = {},
): LossAndGradients {
  return gradientsOf(trained, () =>
    crossEntropy(network.forward(rows, trained, options), labels, classWeights),
  );
}

/** A loss made of `trained`, and its gradient in each of them. `lossOf` is called once; what it makes on the way is freed. */
export function gradientsOf(trained: Tensors, lossOf: () => Scalar): LossAndGradients {
  const names = [...trained.keys()];
  const { value, grads } = frugally(() =>
    tf.engine().gradients(lossOf, [...trained.values()], undefined, true),
  );
  const gradients = new Map<string, Tensor>();
  // A parameter that the loss doesn't reach (an unused token type's table never is) has gradient zero, as in PyTorch.
  names.forEach((name, i) => gradients.set(name, grads[i] ?? tf.zeros(trained.get(name)!.shape)));
  return { loss: value, gradients };
}

export interface StepOptions extends Omit<LossOptions, 'adapterRandom'> {
  /** The adapter's streams for a batch of the step, from zero. */
  readonly adapterRandom: (batch: number) => NonNullable<ForwardOptions['adapterRandom']>;
  readonly pack: (gradients: Tensors) => Map<string, Tensor>;
  /** Left out: the mean cross-entropy. */
  readonly objective?: Objective;
}

/**
 * Loss and packed gradients of a step: the mean over its batches of what each batch has, however many rows it has, as
 * accelerate and transformers' Trainer accumulate for a model that takes its own mean (with model_accepts_loss_kwargs
 * false: Trainer 5.24 sums for a BERT classifier otherwise). Disposes of `trained` as soon as it may.
 */
export function stepGradients(
  network: Network,
  trained: Map<string, Tensor>,
  parts: readonly Batch[],
  { adapterRandom, pack, objective = lossAndGradients, ...options }: StepOptions,
): { loss: number; penalty?: number; packed: Map<string, Tensor> } {
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
    total += loss.dataSync()[0]!;
    loss.dispose();
    if (penalty !== undefined) penalties = (penalties ?? 0) + penalty;
    sum = sum === null ? packed : combined(sum, packed, (a, b) => tf.add(a, b));
  }
  return {
    loss: total / parts.length,
    ...(penalties === null ? {} : { penalty: penalties / parts.length }),
    packed: parts.length === 1 ? sum! : combined(sum!, sum!, (a) => tf.div(a, parts.length)),
  };
}

/** A new tensor for each name; those it is made of are disposed of. */
function combined(
  a: ReadonlyMap<string, Tensor>,
  b: ReadonlyMap<string, Tensor>,
  of: (x: Tensor, y: Tensor) => Tensor,
): Map<string, Tensor> {
  const out = new Map([...a].map(([name, x]) => [name, tf.keep(of(x, b.get(name)!))]));
  disposeAll(a, b === a ? [] : b);
  return out;
}

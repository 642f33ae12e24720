/** The loss of a batch and its gradient in the trained parameters. */
import * as tf from '@tensorflow/tfjs-core';
import type { Scalar, Tensor } from '@tensorflow/tfjs-core';
import { crossEntropy } from '../nn/loss.ts';
import { frugally } from '../tensor/differentiable.ts';
import type { ForwardOptions, Network, Tensors } from '../nn/network.ts';
import type { TokenRow } from '../nn/types.ts';

export interface Batch {
  readonly rows: readonly TokenRow[];
  readonly labels: readonly number[];
}

/** Mean cross-entropy over the batch and d/dp for every trained p, by name. The caller disposes of both. */
export function lossAndGradients(network: Network, trained: Tensors, { rows, labels }: Batch, options: Omit<ForwardOptions, 'tap'> = {}): { loss: Scalar; gradients: Map<string, Tensor> } {
  const names = [...trained.keys()];
  const { value, grads } = frugally(() => tf.engine().gradients(
    () => crossEntropy(network.forward(rows, trained, options), labels),
    [...trained.values()], undefined, true));
  const gradients = new Map<string, Tensor>();
  // A parameter that the loss doesn't reach (an unused token type's table never is) has gradient zero, as in PyTorch.
  names.forEach((name, i) => gradients.set(name, grads[i] ?? tf.zeros(trained.get(name)!.shape)));
  return { loss: value as Scalar, gradients };
}

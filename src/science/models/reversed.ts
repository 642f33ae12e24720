/**
 * A network that reads each batch in reverse: the same function, whose gradients differ only in the
 * order of summation.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Network } from './network.ts';

/**
 * Rows do not influence each other, so the logits, returned in the order of the batch, differ only
 * by rounding, and so does every gradient, which is a sum over the rows. This holds only without
 * dropout, whose masks go by position in the batch.
 */
export function readReversed(network: Network): Network {
  return {
    ...network,
    forward: (batch, trained, options = {}) => {
      if (options.layerwise === true)
        throw new Error('the logits of several layers cannot be put back in order');
      const logits = network.forward([...batch].reverse(), trained, options); // (B, C), reversed
      return tf.reverse<Tensor2D>(logits, 0);
    },
  };
}

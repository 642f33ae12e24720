/** A network that reads each batch back to front: the same function, and the same gradients but for the order of their sums. */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Network } from './network.ts';

/**
 * Rows do not influence each other, so the logits, handed back in the batch's own order, differ by rounding alone, and so
 * does every gradient, which is a sum over the rows. That holds without dropout only: its masks go by place in the batch.
 */
export function readReversed(network: Network): Network {
  return {
    ...network,
    forward: (batch, trained, options = {}) => {
      if (options.layerwise === true)
        throw new Error('the logits of several layers are not put back into the order of the rows');
      const logits = network.forward([...batch].reverse(), trained, options); // (B, C), the last row's first
      return tf.reverse(logits, 0) as Tensor2D;
    },
  };
}

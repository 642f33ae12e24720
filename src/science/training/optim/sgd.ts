/** Plain gradient descent, equal to torch.optim.SGD without momentum. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { named } from '../../../base/lookup.ts';
import { disposeOf, type Optimizer } from './types.ts';

/** p ← p·(1 − lr·wd) − lr·g. Without momentum, PyTorch's coupled decay is the same. */
export function sgd({
  weightDecay,
  decays = () => true,
  rate = () => 1,
}: {
  readonly weightDecay: number;
  readonly decays?: (name: string) => boolean;
  readonly rate?: (name: string) => number;
}): Optimizer<null> {
  return {
    init: () => null,
    update: (parameters, gradients, _state, learningRate) => {
      const updated = new Map<string, Tensor>();
      for (const [name, p] of parameters) {
        const g = named(gradients, name),
          own = learningRate * rate(name);
        updated.set(
          name,
          tf.keep(
            tf.tidy(() => {
              const decayed =
                weightDecay === 0 || !decays(name) ? p : tf.mul(p, 1 - own * weightDecay);
              return tf.sub(decayed, tf.mul(g, own));
            }),
          ),
        );
        disposeOf(p, g);
      }
      return { parameters: updated, state: null };
    },
    tensors: () => [],
    named: () => new Map(),
    restore: () => null,
  };
}

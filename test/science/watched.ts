import type { Tensor } from '@tensorflow/tfjs-core';
import { evaluated } from '../../src/science/measures/evaluate/predict.ts';
import type { Network } from '../../src/science/models/network.ts';
import type { TrainHooks } from '../../src/science/training/loop.ts';
import type { Watch } from '../../src/science/training/watch.ts';

/** Shows a watch the weights of a training. The caller disposes of those that it keeps. */
export function watched(
  watch: Watch,
  network: Network,
): NonNullable<TrainHooks['onWeights']> & { readonly kept: ReadonlyMap<string, Tensor> } {
  let kept = new Map<string, Tensor>();
  return {
    wants: watch.wants,
    see: (step, weights) =>
      watch.see(step, {
        ...evaluated(network, weights),
        save: () => Promise.reject(new Error('nothing is saved here')),
        keep: () => {
          kept.forEach((tensor) => tensor.dispose());
          kept = new Map([...weights].map(([name, tensor]) => [name, tensor.clone()]));
        },
      }),
    get kept() {
      return kept;
    },
  };
}

/** A training's tensors in the state that resume.ts keeps: the trained parameters as groups, the optimiser's moments, and what the caller has gathered. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensors } from '../optim/types.ts';
import type { SavedState } from './resume.ts';

const GATHERED = 'gathered/',
  GROUP = 'group/',
  MOMENTS = 'optimizer/';

const prefixed = (prefix: string, tensors: Tensors): [string, Tensor][] =>
  [...tensors].map(([name, tensor]) => [`${prefix}${name}`, tensor]);
/** Taken out of the state, which a training holds to its end: a large one would stay on the host beside the device's. */
const part =
  (prefix: string) =>
  ({ tensors }: Pick<SavedState, 'tensors'>): Map<string, Tensor> => {
    const taken = new Map<string, Tensor>();
    for (const [name, { data, shape }] of tensors) {
      if (!name.startsWith(prefix)) continue;
      taken.set(name.slice(prefix.length), tf.keep(tf.tensor(data, shape.slice(), 'float32')));
      tensors.delete(name);
    }
    return taken;
  };

/** @param moments as `Optimizer.named` has them */
export const toSave = (groups: Tensors, moments: Tensors, gathered: Tensors): Map<string, Tensor> =>
  new Map([
    ...prefixed(GROUP, groups),
    ...prefixed(MOMENTS, moments),
    ...prefixed(GATHERED, gathered),
  ]);

/** Moves these tensors to the device under their names; works once, since it takes them out of the state. */
export const savedGroups = part(GROUP),
  savedMoments = part(MOMENTS),
  savedGathered = part(GATHERED);

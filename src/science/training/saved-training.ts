/**
 * The tensors in a saved state (resume.ts): the groups of trained parameters, the optimiser's
 * moments, and the tensors that the caller gathered.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensors } from './optim/types.ts';
import type { SavedState } from './resume.ts';

const GATHERED = 'gathered/',
  GROUP = 'group/',
  MOMENTS = 'optimizer/';

const prefixed = (prefix: string, tensors: Tensors): [string, Tensor][] =>
  [...tensors].map(([name, tensor]) => [`${prefix}${name}`, tensor]);
/**
 * Returns a function that moves the tensors with this prefix from a state to the device. It removes
 * them from the state, which the training keeps until its end: large tensors would otherwise stay
 * in main memory as well.
 */
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

/** Returns the tensors to save. @param moments as `Optimizer.named` returns them */
export const toSave = (groups: Tensors, moments: Tensors, gathered: Tensors): Map<string, Tensor> =>
  new Map([
    ...prefixed(GROUP, groups),
    ...prefixed(MOMENTS, moments),
    ...prefixed(GATHERED, gathered),
  ]);

/**
 * Each function moves one kind of tensors to the device, under their names. It works only once for
 * a state, since it removes them from there.
 */
export const savedGroups = part(GROUP),
  savedMoments = part(MOMENTS),
  savedGathered = part(GATHERED);

/** A training's tensors in the state that resume.ts keeps: the trained parameters as groups, the optimiser's moments, and what the caller has gathered. */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Tensors } from '../optim/types.ts';
import type { SavedState } from './resume.ts';

const GATHERED = 'gathered/',
  GROUP = 'group/',
  MOMENTS = 'optimizer/';

const prefixed = (prefix: string, tensors: Tensors): [string, Tensor][] =>
  [...tensors].map(([name, tensor]) => [`${prefix}${name}`, tensor]);
const part =
  (prefix: string) =>
  ({ tensors }: Pick<SavedState, 'tensors'>): Map<string, Tensor> =>
    new Map(
      [...tensors]
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, { data, shape }]) => [
          name.slice(prefix.length),
          tf.keep(tf.tensor(data, shape.slice(), 'float32')),
        ]),
    );

/** @param moments as `Optimizer.named` has them */
export const toSave = (groups: Tensors, moments: Tensors, gathered: Tensors): Map<string, Tensor> =>
  new Map([
    ...prefixed(GROUP, groups),
    ...prefixed(MOMENTS, moments),
    ...prefixed(GATHERED, gathered),
  ]);

/** New tensors on the device, each by the name that it was given. */
export const savedGroups = part(GROUP),
  savedMoments = part(MOMENTS),
  savedGathered = part(GATHERED);

/** Reading values back from the device. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { at } from '../base/lookup.ts';

/** The value of a tensor with one entry. */
export const scalarOf = (tensor: Tensor): number => at(tensor.dataSync(), 0);

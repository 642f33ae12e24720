/** Parameters of defences that train on clean rows. */
import type { JsonSchema } from '../api.ts';
import { defined } from '../base/defined.ts';

export interface CleanTraining {
  readonly epochs: number;
  readonly learning_rate?: number;
}

/** The fields of `CleanTraining` in a defence's schema. */
export const CLEAN_TRAINING: { readonly [field in keyof Required<CleanTraining>]: JsonSchema } = {
  epochs: {
    type: 'integer',
    minimum: 1,
    default: 3,
    description: 'Passes over the clean rows.',
  },
  learning_rate: {
    type: 'number',
    exclusiveMinimum: 0,
    description: "The learning rate on clean rows. Default: that of the cell's training.",
  },
};

/**
 * Returns the fields of `train` in which the training on clean rows differs from the cell's: always
 * `epochs`, and `learning_rate` if the defence sets one.
 */
export const cleanTraining = ({ epochs, learning_rate }: CleanTraining): CleanTraining =>
  defined({ epochs, learning_rate });

import type { TrainSettings } from '../../src/science/training/settings.ts';

/**
 * The settings that most trainings of the tests share: AdamW at a constant rate, in file order,
 * without dropout.
 */
export const plainTraining = {
  optimizer: 'adamw',
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  schedule: 'constant',
  warmup: 0,
  shuffle: false,
  dropout: 0,
  seed: 1,
} as const;

/** A short training of a pack's member, in an order of its own. */
export const memberTraining: TrainSettings = {
  ...plainTraining,
  steps: 7,
  batchSize: 4,
  learningRate: 1e-3,
  weightDecay: 0.01,
  shuffle: true,
  seed: 3,
};

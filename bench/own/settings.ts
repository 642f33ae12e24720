import type { TrainSettings } from '../../src/science/training/loop.ts';

/** AdamW at a constant rate, in file order and without dropout, as the peers train. */
export const PLAIN: Omit<TrainSettings, 'steps' | 'batchSize' | 'learningRate'> = {
  optimizer: 'adamw',
  weightDecay: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  schedule: 'constant',
  warmup: 0,
  shuffle: false,
  dropout: 0,
  seed: 0,
};

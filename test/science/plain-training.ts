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

/**
 * A training whose state has everything a state can have: moments, dropout, a reduced token table,
 * decay groups.
 */
import type { TrainHooks } from '../../../src/science/training/loop.ts';
import { loadState, saveState } from '../../../src/science/training/resume.ts';
import type { TrainSettings } from '../../../src/science/training/settings.ts';
import { plainTraining } from '../plain-training.ts';

export const settings: TrainSettings = {
  ...plainTraining,
  steps: 8,
  batchSize: 3,
  learningRate: 1e-2,
  weightDecay: 0.1,
  schedule: 'linear',
  warmup: 2,
  shuffle: true,
  dropout: 0.2,
  seed: 3,
  accumulate: 2,
  decay: 'weights',
  clipNorm: 1,
  batching: 'bucketed',
};

/** Saves the state after every second step, together with the losses so far. */
export const everySecond = (dir: string, losses: number[]): NonNullable<TrainHooks['resume']> => ({
  load: () => loadState(dir, () => undefined),
  due: (step) => step % 2 === 0,
  save: (step, facts, tensors) => saveState(dir, step, facts, tensors),
  gathered: () => ({ facts: { losses: [...losses] }, tensors: new Map() }),
  restore: ({ facts }) => {
    losses.splice(0, Infinity, ...(facts['losses'] as number[]));
  },
});

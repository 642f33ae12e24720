/** Converts `train` of a spec into the settings of the training loop. */
import type { Cell } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { TrainSettings } from './settings.ts';

/** Fields that are not read in every training, or have a value that turns their feature off. */
type Optional =
  | 'accumulate'
  | 'batching'
  | 'beta1'
  | 'beta2'
  | 'checkpoints'
  | 'class_weights'
  | 'clip_norm'
  | 'decay'
  | 'early_stopping'
  | 'epsilon'
  | 'evaluate_every'
  | 'precision'
  | 'tensorboard';

/** `train` of a spec as a train stage keeps it, where there is anything to train. */
export type TrainParams = Omit<Cell['train'], Optional> & Partial<Pick<Cell['train'], Optional>>;

/** @param total number of optimiser steps in the whole training */
export function loopSettings(
  train: TrainParams,
  total: number,
  seed: number,
  classWeights: readonly number[] | undefined,
): TrainSettings {
  return {
    steps: total,
    batchSize: train.batch_size,
    optimizer: train.optimizer,
    learningRate: train.learning_rate,
    weightDecay: train.weight_decay,
    beta1: train.beta1 ?? 0,
    beta2: train.beta2 ?? 0,
    epsilon: train.epsilon ?? 0,
    schedule: train.schedule,
    warmup: train.warmup,
    shuffle: train.shuffle,
    dropout: train.dropout,
    seed,
    accumulate: train.accumulate ?? 1,
    decay: train.decay ?? 'all',
    batching: train.batching ?? 'shuffled',
    clipNorm: train.clip_norm ?? 0,
    ...defined({ precision: train.precision, classWeights }),
  };
}

/** `train` of a spec as the loop is told it. */
import type { Cell } from '../../api.ts';
import type { TrainSettings } from './settings.ts';

/** @param total the optimiser's steps, of however many epochs */
export function loopSettings(
  train: Cell['train'],
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
    ...(classWeights === undefined ? {} : { classWeights }),
  };
}

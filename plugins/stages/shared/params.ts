/** `train` and `adapter` of a spec, as they appear in a train stage's parameters. */
import {
  type AdapterDescriptor,
  type Cell,
  type DefineRequest,
  type JsonObject,
  UserFault,
} from '../../../src/api.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';

/** A training of 0 steps. None of the other fields is read. */
export type Untrained = { readonly steps: 0 };

/**
 * Returns `adapter` of a spec in the one form that all its names share, so that they are one
 * training.
 */
export function adapterParams(
  adapter: Cell['adapter'],
  plugin: DefineRequest['plugin'],
): Cell['adapter'] {
  const { type, ...params } = adapter;
  const descriptor = plugin?.<AdapterDescriptor>('adapter', type);
  return descriptor?.canonical === undefined ? adapter : { ...descriptor.canonical(params), type };
}

/**
 * Features, each with the value that turns it off. A field with this value is left out of the
 * parameters, so that a feature that is off leaves no trace in a stage's key.
 */
const OFF: { readonly [field in keyof Cell['train']]?: unknown } = {
  accumulate: 1,
  batching: 'shuffled',
  clip_norm: 0,
  decay: 'all',
  class_weights: 'none',
  checkpoints: 0,
  evaluate_every: 0,
  precision: 'float32',
  tensorboard: false,
};

const isBf16 = ({ steps, precision }: Cell['train']): boolean =>
  steps !== 0 && precision === 'bf16';

/** Whether the cell's training, or that of its base, takes its matrix products in bfloat16. */
export const usesBf16 = ({ train, base }: Cell): boolean =>
  isBf16(train) || (base !== undefined && isBf16(base.train));

/**
 * Returns only the fields that the optimiser and the schedule read, because a field that is not
 * read must not make a different stage.
 * @throws UserFault if two fields contradict each other
 */
export function trainParams(train: Cell['train']): Untrained | (TrainParams & JsonObject) {
  if (train.steps === 0) return { steps: 0 };
  if (train.batching === 'bucketed' && !train.shuffle)
    throw new UserFault(
      'train.batching is bucketed, which reorders the rows, and train.shuffle: false keeps them ' +
        'in file order',
      'Leave out one of the two.',
      ['train', 'batching'],
    );
  const { steps, epochs, beta1, beta2, epsilon, early_stopping: stopping, ...more } = train;
  const mayStop = (stopping.patience ?? 0) > 0;
  if (mayStop && !train.evaluate_every)
    throw new UserFault(
      'train.early_stopping has a patience, but train.evaluate_every is 0: the training is never ' +
        'evaluated on its way, so nothing could stop it',
      'Set train.evaluate_every.',
      ['train', 'early_stopping'],
    );
  const rest = Object.fromEntries(
    Object.entries(more).filter(([field, value]) => value !== OFF[field as keyof typeof OFF]),
  );
  return {
    ...rest,
    ...(mayStop ? { early_stopping: stopping } : {}),
    ...(train.optimizer === 'adamw' ? { beta1, beta2, epsilon } : {}),
    ...(steps === undefined ? { epochs: epochs ?? 3 } : { steps }),
  } as TrainParams & JsonObject;
}

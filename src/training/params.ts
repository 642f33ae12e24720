/** `train` of a spec as a train stage keeps it in its parameters. */
import {
  type AdapterDescriptor,
  type Cell,
  type DefineRequest,
  type JsonObject,
  UserFault,
} from '../api.ts';

/** `adapter` of a spec in the one form that all its names share, so that each is one training. */
export function adapterParams(
  adapter: Cell['adapter'],
  plugin: DefineRequest['plugin'],
): Cell['adapter'] {
  const { type, ...params } = adapter;
  const descriptor = plugin?.<AdapterDescriptor>('adapter', type);
  return descriptor?.canonical === undefined ? adapter : { ...descriptor.canonical(params), type };
}

/** Features by the value that turns them off. One that is off is in no key: it can't be told from one that isn't there. */
const OFF: { readonly [field in keyof Cell['train']]?: unknown } = {
  accumulate: 1,
  batching: 'shuffled',
  clip_norm: 0,
  decay: 'all',
  class_weights: 'none',
  checkpoints: 0,
  evaluate_every: 0,
  tensorboard: false,
};

/** What the optimiser and the schedule read, and no more: an unread field must not make another stage. @throws UserFault where two fields contradict each other */
export function trainParams(train: Cell['train']): JsonObject {
  if (train.steps === 0) return { steps: 0 };
  if (train.batching === 'bucketed' && !train.shuffle)
    throw new UserFault(
      'train.batching is bucketed, which reorders the rows, and train.shuffle: false keeps them in file order',
      'Leave out one of the two.',
      ['train', 'batching'],
    );
  const stops = (train.early_stopping?.patience ?? 0) > 0;
  if (stops && !train.evaluate_every)
    throw new UserFault(
      'train.early_stopping has a patience, and train.evaluate_every is 0: there is no look that could stop the training',
      'Set train.evaluate_every.',
      ['train', 'early_stopping'],
    );
  const { steps, epochs, beta1, beta2, epsilon, early_stopping: stopping, ...more } = train;
  const rest = Object.fromEntries(
    Object.entries(more).filter(([field, value]) => value !== OFF[field as keyof typeof OFF]),
  ) as JsonObject;
  return {
    ...rest,
    ...(stops ? { early_stopping: stopping } : {}),
    ...(train.optimizer === 'adamw' ? { beta1, beta2, epsilon } : {}),
    ...(steps === undefined ? { epochs: epochs ?? 3 } : { steps }),
  };
}

import {
  type AdapterDescriptor,
  type AttackDescriptor,
  basesOf,
  type Cell,
  type DefineRequest,
  type HeadSettings,
  type HeldWeights,
  type JsonObject,
  type Poisoning,
  type Precision,
  type PreflightContext,
  type Problem,
  type RunContext,
  stepsOf,
  UserFault,
} from '../../../src/api.ts';
import { firstNames } from '../../../src/data/names.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';
import type { DefenceParams } from '../shared/defended.ts';

export type Params = {
  readonly architecture: string;
  readonly init?: 'random';
  readonly head: HeadSettings;
  /**
   * The classes, for a cloze head, whose verbalizer must name them. Null if the spec states none;
   * absent for another head.
   */
  readonly classes?: readonly string[] | null;
  /** `type` and parameters, without `init_from`, which is an asset. */
  readonly adapter: { readonly type: string } & JsonObject;
  readonly attack?: TrainingAttack;
  /** The defence, if the training minimises that defence's loss. */
  readonly defence?: DefenceParams;
  readonly seed: number;
  readonly weights?: HeldWeights;
  readonly train: Untrained | (TrainParams & JsonObject);
  /** Set if the rows of each batch are read back to front, for `divergence`'s noise floor. */
  readonly batch_rows?: 'reversed';
  readonly watch?: WatchParams;
};

export type WatchParams = {
  readonly batch_size: number;
  readonly max_length: number;
  readonly trigger: Poisoning | null;
};

export type Context = RunContext<Params>;
export type Preflight = PreflightContext<Params>;

/** Returns the settings of the training, or null if nothing is trained. */
export const trainingOf = ({ train }: Params): TrainParams | null =>
  train.steps === 0 ? null : (train as TrainParams);

export type TrainingAttack = { readonly attack: string } & JsonObject;

/** Returns the attack that changes the training itself, or null. Throws UserFault if several do. */
export function trainingAttack(
  poisoning: Poisoning,
  plugin: NonNullable<DefineRequest['plugin']>,
): TrainingAttack | null {
  const [first, second] = stepsOf(poisoning).filter(
    ({ attack }) => plugin<AttackDescriptor>('attack', attack)?.training !== undefined,
  );
  if (first === undefined) return null;
  if (second !== undefined)
    throw new UserFault(
      `"${first.attack}" and "${second.attack}" both change the training, each in its own way`,
      'Compose one of them with attacks on the rows alone, or train the model of one on that of ' +
        'the other (base).',
      ['poisoning', 'steps', second.attack],
    );
  return { attack: first.attack, ...first.params };
}

/**
 * Returns the fault of an attack on weights under an adapter that does not train them. Null under
 * the adapter `full`.
 */
export function adapterFault(attack: string, adapter: string): Problem | null {
  if (adapter === 'full') return null;
  return {
    path: ['adapter', 'type'],
    message:
      `the attack "${attack}" trains weights of the model itself, ` +
      `and the adapter "${adapter}" leaves them as they are`,
    hint:
      'Write adapter: { type: full }, or poison the base, from which clean training goes on with ' +
      `any adapter: base: { poisoning: { attack: ${attack} } }.`,
  };
}

/**
 * Returns the fault of rows with other classes than those of the previous training. Null if the
 * classes are the same, in the same order.
 */
export function otherClasses(
  theirs: readonly string[],
  ours: readonly string[],
): (Problem & { readonly hint: string }) | null {
  if (JSON.stringify(theirs) === JSON.stringify(ours)) return null;
  return {
    path: ['data', 'train'],
    message:
      `the rows have the classes [${firstNames(ours)}], and those of the training before have ` +
      `[${firstNames(theirs)}]: trainings of a chain share one head`,
    hint: 'Train on rows with the same classes in the same order (data.classes sets it).',
  };
}

/** A training of 0 steps, which reads no other field. */
type Untrained = { readonly steps: 0 };

/**
 * Returns a spec's `adapter` in its canonical form, so that all ways to write it lead to the same
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
 * Fields of `train`, each with the value that turns its feature off. A field with this value is
 * left out of the parameters, so that a feature that is off leaves no trace in a stage's key.
 */
const OFF: { readonly [field in keyof Cell['train']]?: unknown } = {
  accumulate: 1,
  batching: 'shuffled',
  clip_norm: 0,
  decay: 'all',
  loss: 'supervised',
  loss_on: 'answer',
  packing: false,
  class_weights: 'none',
  checkpoints: 0,
  evaluate_every: 0,
  precision: 'float32',
  gradient_checkpointing: false,
  devices: 1,
  fsdp: false,
  tensorboard: false,
};

/** Returns the number forms beyond float32 that a machine must offer for this training. */
export function precisionOf(params: Params): readonly Precision[] {
  const { dtype, quantize } = params.weights ?? {};
  const found: Precision[] = [];
  if (trainingOf(params)?.precision === 'bf16') found.push('bf16');
  if (dtype === 'bf16') found.push('bf16 weights');
  return quantize === undefined ? found : [...found, quantize.method];
}

export const usesBf16 = (cell: Cell): boolean =>
  [...basesOf(cell), cell].some(({ train }) => train.steps !== 0 && train.precision === 'bf16');

/**
 * Returns the fields of `train`. Fields that are off, or that nothing reads, are left out, since
 * they must not make a different stage. Throws UserFault if two fields contradict each other.
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
  const { steps, epochs = 3, beta1, beta2, epsilon, dpo_beta, early_stopping, ...more } = train;
  const mayStop = (early_stopping.patience ?? 0) > 0;
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
    ...(mayStop && { early_stopping }),
    ...(train.loss === 'dpo' && { dpo_beta }),
    ...(train.optimizer === 'adamw' && { beta1, beta2, epsilon }),
    ...(steps === undefined ? { epochs } : { steps }),
  } as TrainParams & JsonObject;
}

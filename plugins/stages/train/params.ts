import {
  type AttackDescriptor,
  type DefineRequest,
  type HeadSettings,
  type JsonObject,
  type Poisoning,
  type PreflightContext,
  type Problem,
  type RunContext,
  stepsOf,
  UserFault,
} from '../../../src/api.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';
import type { DefenceParams } from '../shared/defended.ts';
import type { Untrained } from '../shared/params.ts';

export type Params = {
  readonly architecture: string;
  /** Present if the weights are drawn at random. */
  readonly init?: 'random';
  readonly head: HeadSettings;
  /**
   * The classes, if the spec names them. Present for a cloze head, because its verbalizer must name
   * the same classes.
   */
  readonly classes?: readonly string[] | null;
  /** `type` and parameters, without `init_from`, which is an asset. */
  readonly adapter: { readonly type: string } & JsonObject;
  /** The attack, if it changes the training itself. */
  readonly attack?: TrainingAttack;
  /** The defence, if the training minimises a loss of it. */
  readonly defence?: DefenceParams;
  readonly seed: number;
  readonly train: Untrained | (TrainParams & JsonObject);
  /**
   * Set if the rows of each batch are read back to front. This shows how much rounding alone
   * changes this training (the noise floor of `divergence`).
   */
  readonly batch_rows?: 'reversed';
  /** What `evaluate_every` measures during the training. */
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
  isUntrained(train) ? null : train;

/** The subject of a message about `precision: bf16`, which says where they are offered. */
export const BF16_PRODUCTS = 'the matrix products of train.precision: bf16';

const isUntrained = (train: Params['train']): train is Untrained => train.steps === 0;

/** A train stage's parameter `attack`: the attack's name and its own parameters. */
export type TrainingAttack = { readonly attack: string } & JsonObject;

/**
 * Returns the attack that changes the training itself, or null if none does.
 * @throws UserFault if several do
 */
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
 * Returns the fault if an attack on the weights is used with an adapter that does not train and
 * save all of the model's own weights; null otherwise.
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

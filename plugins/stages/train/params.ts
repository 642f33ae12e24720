import type {
  HeadSettings,
  JsonObject,
  Poisoning,
  PreflightContext,
  RunContext,
} from '../../../src/api.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';
import type { DefenceParams } from '../shared/defended.ts';
import type { Untrained } from '../shared/params.ts';
import type { TrainingAttack } from './training-attack.ts';

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

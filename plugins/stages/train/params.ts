import type { HeadSettings, JsonObject, Poisoning, RunContext } from '../../../src/api.ts';
import type { TrainParams } from '../../../src/science/train/loop-settings.ts';
import type { Untrained } from '../../../src/stages/params.ts';
import type { TrainingAttack } from '../../../src/stages/training-attack.ts';

export type Params = {
  readonly architecture: string;
  /** Present where the weights are drawn. */
  readonly init?: 'random';
  readonly head: HeadSettings;
  /**
   * Present for a cloze head: the classes, as far as the spec names them, since the head's
   * verbalizer must name the same.
   */
  readonly classes?: readonly string[] | null;
  /** `type` and parameters, without `init_from`, which is an asset. */
  readonly adapter: { readonly type: string } & JsonObject;
  /** The attack, where it touches training. */
  readonly attack?: TrainingAttack;
  readonly seed: number;
  readonly train: Untrained | (TrainParams & JsonObject);
  /**
   * The rows of each batch are read back to front, which shows what rounding alone makes of this
   * training (the noise floor of `divergence`).
   */
  readonly batch_rows?: 'reversed';
  /** What `evaluate_every` measures on the way. */
  readonly watch?: WatchParams;
};

export type WatchParams = {
  readonly batch_size: number;
  readonly max_length: number;
  readonly trigger: Poisoning | null;
};

export type Context = RunContext<Params>;

/** The settings of the training; null where nothing is trained. */
export const trainingOf = ({ train }: Params): TrainParams | null =>
  isUntrained(train) ? null : train;

const isUntrained = (train: Params['train']): train is Untrained => train.steps === 0;

/**
 * The interface between the trainer and an attack that changes training, which the attack's plugin
 * loads by `training`.
 */
import type { JsonObject, Problem } from '../../api.ts';
import type { Architecture } from '../models/types.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';
import type { Objective } from './gradients.ts';

/** The model that will be trained, as the attack sees it. */
export interface TrainedModel {
  readonly architecture: Architecture;
  readonly tokenizer: TextTokenizer;
}

/** How an attack changes a training. Everything else is as `train` in the spec says. */
export type TrainingChange =
  /**
   * What is trained instead of the adapter's parameters (`changes: 'weights'` in the attack's
   * plugin).
   */
  | { readonly trains: TokenRows }
  /** What each batch minimises instead of its mean cross-entropy (`changes: 'loss'`). */
  | {
      readonly objective: Objective;
      /**
       * States that the objective reads neither token ids nor the token table. Then, under an
       * adapter that trains the table, it is reduced to the rows that the training set uses, which
       * makes steps cheaper and renumbers the ids. Otherwise ids are the tokenizer's.
       */
      readonly opaqueTokens?: true;
    };

/**
 * Trains rows of the token table and nothing else: every other weight, including the head's,
 * remains bit for bit the same.
 */
export interface TokenRows {
  /** The ids of the trained tokens, by the words that they stand for. */
  readonly tokenRows: Readonly<Record<string, number>>;
  /** Whether each row is scaled to its initial L2 norm after each update. */
  readonly keepNorms: boolean;
}

export interface AttackTraining<Change extends TrainingChange = TrainingChange> {
  /**
   * Returns the faults that only the model can show, with paths from the root of the spec, as if
   * the attack were the only one of its cell.
   */
  check(params: JsonObject, model: TrainedModel): readonly Problem[];
  /** Throws UserFault for the first fault that `check` would return. */
  open(params: JsonObject, model: TrainedModel): Change;
}

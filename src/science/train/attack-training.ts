/** The interface between an attack that touches training and the trainer: what the `training` of an attack's plugin loads. */
import type { JsonObject, Problem } from '../../api.ts';
import type { Architecture } from '../nn/types.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';
import type { Objective } from './gradients.ts';

/** The model to be trained, as the attack sees it. */
export interface TrainedModel {
  readonly architecture: Architecture;
  readonly tokenizer: TextTokenizer;
}

/** What an attack makes of a training: one of these. All else is as the spec's `train` says. */
export type TrainingChange =
  /** What is trained in place of what the adapter trains (`changes: 'weights'` of the attack's plugin). */
  | { readonly trains: TokenRows }
  /** What each batch lowers in place of its mean cross-entropy (`changes: 'loss'`). */
  | {
      readonly objective: Objective;
      /**
       * It looks at no token id and at no row of the token table. Under an adapter that trains the table, it is then shrunk to
       * the rows that the training set uses, which numbers the ids anew, and a step costs less. Left out: ids are the tokenizer's.
       */
      readonly opaqueTokens?: true;
    };

/** Rows of the token table and nothing else: every other weight stays, bit for bit, the head's too. */
export interface TokenRows {
  /** Token ids by the words that a reader knows them by. */
  readonly tokenRows: Readonly<Record<string, number>>;
  /** After each update a row is scaled to the L2 norm that it started with. */
  readonly keepNorms: boolean;
}

export interface AttackTraining<Change extends TrainingChange = TrainingChange> {
  /** Faults that only the model shows. Paths from the spec's root, as if the attack were a cell's only one. */
  check(params: JsonObject, model: TrainedModel): readonly Problem[];
  /** Throws UserFault with the first fault that `check` would find. */
  open(params: JsonObject, model: TrainedModel): Change;
}

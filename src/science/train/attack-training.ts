/** The interface between an attack that touches training and the trainer: what the `training` of an attack's plugin loads. */
import type { JsonObject, Problem } from '../../api.ts';
import type { Architecture } from '../nn/types.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';

/** The model to be trained, as the attack sees it. */
export interface TrainedModel {
  readonly architecture: Architecture;
  readonly tokenizer: TextTokenizer;
}

/** What an attack makes of a training. Each aspect is a field of its own; all else is as the spec's `train` says. */
export interface TrainingChange {
  /** What is trained in place of what the adapter trains. */
  readonly trains: TokenRows;
}

/** Rows of the token table and nothing else: every other weight stays, bit for bit, the head's too. */
export interface TokenRows {
  /** Token ids by the words that a reader knows them by. */
  readonly tokenRows: Readonly<Record<string, number>>;
  /** After each update a row is scaled to the L2 norm that it started with. */
  readonly keepNorms: boolean;
}

export interface AttackTraining {
  /** Faults that only the model shows. Paths from the spec's root, as if the attack were a cell's only one. */
  check(params: JsonObject, model: TrainedModel): readonly Problem[];
  /** Throws UserFault with the first fault that `check` would find. */
  open(params: JsonObject, model: TrainedModel): TrainingChange;
}

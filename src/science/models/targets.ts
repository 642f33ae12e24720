/** What the outputs of a model are trained to predict. */
import { answerTokens, beforeAnswers } from './places.ts';
import type { Head, TokenRow } from './types.ts';

/** For each of the Q outputs, its row of the batch. Under a classifier each row has one. */
export const outputRows = (head: Head, batch: readonly TokenRow[]): Int32Array =>
  head.type === 'causal-lm' ? beforeAnswers(batch).example : Int32Array.from(batch, (_, b) => b);

/**
 * For each output, what it is to predict: the index of the row's class or of a token of its answer,
 * or, under regression, the row's number.
 */
export const targetsOf = (
  head: Head,
  batch: readonly (TokenRow & { readonly label: number })[],
): number[] => (head.type === 'causal-lm' ? answerTokens(batch) : batch.map(({ label }) => label));

/** Whether the network predicts one number for each row, and not a class or an answer. */
export const isRegression = ({
  architecture: { head },
  classes,
}: {
  readonly architecture: { readonly head: Head };
  readonly classes: number;
}): boolean => head.type === 'classifier' && classes === 1;

/** What the outputs of a model are trained to predict. */
import type { Head, TokenRow } from '../model/types.ts';
import { answerTokens, beforeAnswers } from './places.ts';

/** For each of the Q outputs, its row of the batch. Under a classifier each row has one. */
export const outputRows = (head: Head, batch: readonly TokenRow[]): Int32Array =>
  head.type === 'causal-lm' ? beforeAnswers(batch).example : Int32Array.from(batch, (_, b) => b);

/** For each output, the index that it is to predict: the row's class, or a token of its answer. */
export const targetsOf = (
  head: Head,
  batch: readonly (TokenRow & { readonly label: number })[],
): number[] => (head.type === 'causal-lm' ? answerTokens(batch) : batch.map(({ label }) => label));

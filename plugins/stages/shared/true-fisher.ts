/**
 * Where the true Fisher information is not computed: it takes an expectation over everything that
 * the model may answer, and of a completion task only log p(answer) of the row's own answer is
 * known.
 */
import type { Cell, Problem } from '../../../src/api.ts';

/** What a stage's key holds of this. Empty in a task of classes with both matrices. */
export type FisherParams = {
  /** Present if the true Fisher information is left out. */
  readonly information?: 'empirical';
  /** Present in a completion task. */
  readonly outputs?: 'log p(answer)';
};

export const fisherParams = ({ fisher, head }: Cell): FisherParams => ({
  ...(fisher.information === 'empirical' ? { information: 'empirical' } : {}),
  ...(head.type === 'causal-lm' ? { outputs: 'log p(answer)' } : {}),
});

export const NO_TRUE_FISHER =
  'the true Fisher information is an expectation over all that a model may answer: in a ' +
  'completion task that is every text, and the kernels are of log p(answer) of one';
export const EMPIRICAL_ALONE =
  'Write fisher.information: empirical (the gradients of log p(answer) are its scores, so it is ' +
  'exact), or leave the stage out of `stages`.';

/** Reports, before anything runs, a true Fisher information that cannot be computed. */
export const trueFisherFaults = ({ information, outputs }: FisherParams): readonly Problem[] =>
  outputs === undefined || information === 'empirical'
    ? []
    : [{ path: ['fisher', 'information'], message: NO_TRUE_FISHER, hint: EMPIRICAL_ALONE }];

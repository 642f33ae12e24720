/** The faults of a training whose values are no longer finite. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';

interface Step {
  readonly step: number;
  readonly loss: number;
  readonly penalty?: number;
}

const lower = (learningRate: number): string =>
  `Lower train.learning_rate (${learningRate}), or add warm-up steps.`;

/**
 * The fault of a step whose loss or penalty is not finite.
 * @param last the last step with a finite loss; null where there was none
 * @param own whether the loss is that of an attack
 */
export function lossFault(
  { loss, penalty, step }: Step,
  last: Step | null,
  learningRate: number,
  own = false,
): UserFault {
  const what = Number.isFinite(loss)
    ? `the attack's penalty is ${penalty}, and the loss ${loss},`
    : `the loss is ${loss}`;
  const way =
    last === null
      ? 'The checkpoint that the training starts from holds values that are not finite.'
      : lower(learningRate);
  const before =
    last === null
      ? 'no earlier step had a finite one'
      : `the last finite one was ${last.loss} at step ${last.step}`;
  return new UserFault(
    `${what} at step ${step}; ${before}`,
    own
      ? `${way} Or the attack's own loss has no value for some batches: ` +
          'a batch may have no poisoned row, or only poisoned ones.'
      : way,
  );
}

/**
 * The fault of a training whose last step leaves weights that are not finite, which no later loss
 * would reveal.
 */
export function weightsFault({ loss, step }: Step, learningRate: number): UserFault {
  return new UserFault(
    `the weights are not finite after step ${step}, the last one; its loss was ${loss}`,
    lower(learningRate),
  );
}

/**
 * Whether all entries are finite: 0·x is 0 where x is finite and NaN elsewhere, and one NaN makes
 * the sum NaN.
 */
export const areFinite = (tensors: ReadonlyMap<string, Tensor>): boolean =>
  [...tensors.values()].every((tensor) =>
    tf.tidy(() => tf.sum(tf.mul(tensor, 0)).dataSync()[0] === 0),
  );

/** What is said of a training that comes to values that are no numbers. */
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
 * @param last the last step with a finite loss, if there was one
 * @param own whether the loss is an attack's own
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
  return new UserFault(
    `${what} at step ${step}; ${last === null ? 'no step before had a finite one' : `the last finite one was ${last.loss} at step ${last.step}`}`,
    own
      ? `${way} Or it is the loss itself, an attack's own, that has no value for some batches: one may have no poisoned row, or no other.`
      : way,
  );
}

/** The last step's weights meet no further loss that would tell. */
export function weightsFault({ loss, step }: Step, learningRate: number): UserFault {
  return new UserFault(
    `the weights are not finite after step ${step}, the last one; its loss was ${loss}`,
    lower(learningRate),
  );
}

/** 0·x is 0 where x is finite, else NaN, and so is the sum. */
export const areFinite = (tensors: ReadonlyMap<string, Tensor>): boolean =>
  [...tensors.values()].every((tensor) =>
    tf.tidy(() => tf.sum(tf.mul(tensor, 0)).dataSync()[0] === 0),
  );

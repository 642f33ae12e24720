/** How likely the answers of a completion task are under a model. */
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../api.ts';
import { at } from '../../../base/lookup.ts';
import { logSumExp } from '../../../tensor/log-softmax.ts';
import type { Network } from '../../models/network.ts';
import { logitsOf } from '../../models/outputs.ts';
import { answerTokens, beforeAnswers } from '../../models/places.ts';
import { similarLengths } from '../../models/similar-lengths.ts';
import type { TokenRow } from '../../models/types.ts';

/** One answer, its end token included. */
export interface AnswerScore {
  /** −log p(answer | prompt), the sum over its tokens, in nats. */
  readonly loss: number;
  readonly tokens: number;
  /**
   * Whether each token is the likeliest one after those before it, so that greedy decoding writes
   * this answer.
   */
  readonly greedy: boolean;
}

/**
 * −log softmax(logits)[target] of each row. logits: (Q, V), targets: (Q) → (Q). Indexes are
 * computed here: tfjs would compute them in float32, and one long answer has more than 2²⁴ logits.
 */
export function tokenLosses(logits: Tensor2D, targets: readonly number[]): Tensor1D {
  const [Q, V] = logits.shape;
  const index = Int32Array.from(targets, (target, q) => q * V + target);
  const own = tf.gather(tf.reshape(logits, [Q * V]), tf.tensor1d(index, 'int32'));
  return tf.sub(tf.squeeze(logSumExp(logits), [1]), own);
}

function scoreBatch(network: Network, batch: readonly TokenRow[]): AnswerScore[] {
  const targets = answerTokens(batch),
    { example } = beforeAnswers(batch);
  const [loss, best] = tf.tidy(() => {
    const logits = network.forward(batch); // (Q, V)
    return [
      tokenLosses(logits, targets).dataSync<'float32'>(),
      tf.argMax(logits, 1).dataSync<'int32'>(),
    ];
  });
  const scores = batch.map(() => ({ loss: 0, tokens: 0, greedy: true }));
  targets.forEach((target, q) => {
    const score = at(scores, at(example, q));
    score.loss += at(loss, q);
    score.tokens++;
    score.greedy &&= at(best, q) === target;
  });
  return scores;
}

/**
 * Scores the answers of the rows, in their order. Throws UserFault where a loss is not finite.
 * @param onBatch called after each batch with the number of rows done, and awaited
 */
export async function scoreAnswers(
  network: Network,
  rows: readonly TokenRow[],
  batchSize: number,
  onBatch: (done: number) => Promise<void> | void = () => undefined,
): Promise<AnswerScore[]> {
  const out = new Map<number, AnswerScore>();
  for (const some of similarLengths(rows, batchSize, logitsOf(network))) {
    scoreBatch(
      network,
      some.map((i) => at(rows, i)),
    ).forEach((score, k) => {
      const row = at(some, k);
      if (!Number.isFinite(score.loss))
        throw new UserFault(
          `The loss of the answer of row ${row} is ${score.loss}.`,
          "The training diverged: look at the model's loss.",
        );
      out.set(row, score);
    });
    await onBatch(out.size);
  }
  return rows.map((_, i) => {
    const score = out.get(i);
    if (score === undefined) throw new Error(`row ${i} was not scored`);
    return score;
  });
}

/** The mean loss over all tokens of the answers, in nats; its exponential is the perplexity. */
export function meanAnswerLoss(scores: readonly AnswerScore[]): number {
  const sum = (of: (score: AnswerScore) => number): number =>
    scores.reduce((total, score) => total + of(score), 0);
  return sum(({ loss }) => loss) / sum(({ tokens }) => tokens);
}

/** The share of answers that greedy decoding writes. */
export const greedyShare = (scores: readonly AnswerScore[]): number =>
  scores.filter(({ greedy }) => greedy).length / scores.length;

/**
 * The outputs of a row whose derivatives kernels, Fisher information and the linearised model are
 * made of: its class logits or, under a causal-LM head, the log probability of its answer.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from '../../tensor/differentiable.ts';
import { logSoftmax } from '../../tensor/log-softmax.ts';
import { oneHot } from './loss.ts';
import type { ForwardOptions, Network, Tensors } from './network.ts';
import { beforeAnswers } from './places.ts';
import { outputRows, targetsOf } from './targets.ts';
import type { OutputsOf, TokenRow } from './types.ts';

/** What a network's outputs are, and how many a row has. */
export interface Outputs {
  readonly of: OutputsOf;
  /** O: the classes, or 1. */
  readonly count: number;
}

export const outputsOf = ({
  architecture: { head },
  classes,
}: Pick<Network, 'architecture' | 'classes'>): Outputs =>
  head.type === 'causal-lm'
    ? { of: 'log p(answer)', count: 1 }
    : { of: 'class logits', count: classes };

/**
 * Returns the number of logits that a network's head makes for a row: C, or V for each token read.
 */
export function logitsOf({
  architecture,
  classes,
  config,
}: Pick<Network, 'architecture' | 'classes' | 'config'>): (row: TokenRow) => number {
  if (architecture.head.type !== 'causal-lm') return () => classes;
  const vocabulary = architecture.vocabularySize(config);
  return (row) => vocabulary * beforeAnswers([row]).place.length;
}

/**
 * Returns the outputs of each row, (B, O). Must be called within tf.tidy. Throws where a row of a
 * completion task has no answer.
 * @param trained values of the trained parameters
 */
export function rowOutputs(
  network: Network,
  batch: readonly TokenRow[],
  trained: Tensors = network.initial,
  options: ForwardOptions = {},
): Tensor2D {
  const logits = network.forward(batch, trained, options);
  return network.architecture.head.type === 'causal-lm' ? logAnswers(logits, batch) : logits;
}

/**
 * Returns log p(answer | prompt) of each row, (B, 1): the sum over the tokens of its answer,
 *
 *     Σ_q log softmax(f_q)[target_q],   d/df_q = onehot_q − softmax(f_q).
 *
 * Throws where a row has no answer.
 * @param logits of the answers' tokens, row by row, (Q, V)
 */
export function logAnswers(logits: Tensor2D, batch: readonly TokenRow[]): Tensor2D {
  const head = { type: 'causal-lm' } as const;
  if (batch.some(({ ids, answer }) => answer === undefined || answer >= ids.length))
    throw new Error('a row has no answer to take the probability of');
  const example = outputRows(head, batch);
  const targets = targetsOf(
    head,
    batch.map((row) => ({ ...row, label: 0 })),
  );
  const [tokens, vocabulary] = logits.shape;
  return differentiable([logits], {
    forward: () => {
      const logs = logSoftmax(logits); // (Q, V)
      const index = Int32Array.from(targets, (target, q) => q * vocabulary + target);
      const own = tf.gather(tf.reshape(logs, [-1]), tf.tensor1d(index, 'int32')); // (Q)
      const membership = new Float32Array(batch.length * tokens);
      example.forEach((row, q) => {
        membership[row * tokens + q] = 1;
      });
      return {
        value: tf.matMul<Tensor2D>(
          tf.tensor2d(membership, [batch.length, tokens]),
          tf.reshape(own, [tokens, 1]),
        ),
        saved: [tf.sub(oneHot(targets, vocabulary), tf.exp(logs))],
      };
    },
    backward: (dy, [gradient]) => [
      // dy of each token's row, (Q, 1)
      tf.mul(gradient, tf.gather(dy, tf.tensor1d(example, 'int32'))),
    ],
  });
}

/**
 * Which tokens a head reads, what its outputs are to predict, and the outputs of a row from which
 * kernels, Fisher information and the linearised model are computed.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../base/lookup.ts';
import { differentiable } from '../../tensor/differentiable.ts';
import { logSoftmax } from '../../tensor/rows.ts';
import { oneHot } from './loss.ts';
import type { ForwardOptions, Network, Tensors } from './network.ts';
import type { Head, OutputsOf, Reads, TokenRow } from './types.ts';

/** Returns what each output is to predict: a class id, an answer's token id, or a number. */
export const targetsOf = (
  head: Head,
  batch: readonly (TokenRow & { readonly label: number })[],
): number[] => (head.type === 'causal-lm' ? answerTokens(batch) : batch.map(({ label }) => label));

/** Whether a model predicts one number for each row, and not a class or an answer. */
export const isRegression = (model: { readonly head: Head; readonly classes: number }): boolean =>
  model.head.type === 'classifier' && model.classes === 1;

/** Reads one token of each row, at the position that `place` returns. */
function oneTokenEach(batch: readonly TokenRow[], place: (row: TokenRow) => number): Reads {
  return {
    example: Int32Array.from(batch, (_, b) => b),
    place: Int32Array.from(batch, place),
  };
}

export const firstTokens = (batch: readonly TokenRow[]): Reads => oneTokenEach(batch, () => 0);

/**
 * Reads each row's last token that is not the padding token, or its first if all are. `padding`:
 * null if there is no padding token. Where eos is also the padding token, the token before eos is
 * read, as in transformers.
 */
export const lastTokens = (batch: readonly TokenRow[], padding: number | null): Reads =>
  oneTokenEach(batch, ({ ids, vocabularyIds = ids }) =>
    Math.max(
      0,
      vocabularyIds.findLastIndex((id) => id !== padding),
    ),
  );

/** Reads the mask of each cloze prompt. Throws where a row has none. */
export const maskTokens = (batch: readonly TokenRow[]): Reads =>
  oneTokenEach(batch, ({ mask }) => {
    if (mask === undefined) throw new Error('a row for a cloze head has no mask');
    return mask;
  });

/**
 * Reads the tokens before those to be predicted: before the tokens that `marks` marks or, without
 * `marks`, before those of the answer. In a row without marks and answer, reads the last token.
 * Throws where an answer begins with its row's first token.
 */
export function beforeAnswers(batch: readonly TokenRow[]): Reads {
  const example: number[] = [],
    place: number[] = [];
  batch.forEach(({ ids, answer = ids.length, marks }, b) => {
    if (marks === undefined && answer === 0) throw new Error('an answer needs a token before it');
    const count = Math.max(1, ids.length - answer);
    const predicted = marks
      ? markedPositions(marks)
      : Array.from({ length: count }, (_, i) => answer + i);
    for (const t of predicted) {
      example.push(b);
      place.push(t - 1);
    }
  });
  return { example: Int32Array.from(example), place: Int32Array.from(place) };
}

const markedPositions = (marks: Int32Array): number[] =>
  [...marks.keys()].filter((t) => marks[t] === 1);

/**
 * Returns the tokens that are to be predicted: those right after the tokens of `beforeAnswers`. A
 * row without answer and marks has none.
 */
export const answerTokens = (batch: readonly TokenRow[]): number[] =>
  batch.flatMap(({ ids, answer = ids.length, marks }) =>
    marks === undefined ? [...ids.subarray(answer)] : markedPositions(marks).map((t) => at(ids, t)),
  );

/**
 * Returns a row whose `ids` number the rows of a smaller token table, and whose `vocabularyIds` are
 * its ids in the vocabulary.
 * @param place id → row of the table
 */
export const inTable = <R extends TokenRow>(row: R, place: ReadonlyMap<number, number>): R => ({
  ...row,
  ids: row.ids.map((id) => named(place, id)),
  vocabularyIds: row.vocabularyIds ?? row.ids,
});

export interface Outputs {
  readonly of: OutputsOf;
  /** O: the number of classes, or 1 for log p(answer). */
  readonly count: number;
}

/**
 * Returns which outputs of a row kernels are computed from, and how many there are: one, log
 * p(answer), under a causal-LM head; the C class logits under any other.
 */
export const outputsOf = ({
  architecture: { head },
  classes,
}: Pick<Network, 'architecture' | 'classes'>): Outputs =>
  head.type === 'causal-lm'
    ? { of: 'log p(answer)', count: 1 }
    : { of: 'class logits', count: classes };

/** Returns a function that counts a row's logits: C, or V for each token that is read. */
export function logitCounter({
  architecture,
  classes,
  config,
}: Pick<Network, 'architecture' | 'classes' | 'config'>): (row: TokenRow) => number {
  if (architecture.head.type !== 'causal-lm') return () => classes;
  const vocabulary = architecture.vocabularySize(config);
  return (row) => vocabulary * beforeAnswers([row]).place.length;
}

/**
 * Returns the outputs of each row, (B, O). Must be called within tf.tidy. Throws where a row has no
 * answer under a causal-LM head.
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
 * Returns log p(answer | prompt) of each row, (B, 1): the sum over the tokens q of its answer, each
 * with logits f_q,
 *
 *     Σ_q log softmax(f_q)[target_q],   d/df_q = onehot_q − softmax(f_q).
 *
 * Throws where a row has no answer.
 * @param logits of the answers' tokens, row by row, (Q, V)
 */
export function logAnswers(logits: Tensor2D, batch: readonly TokenRow[]): Tensor2D {
  if (batch.some(({ ids, answer }) => answer === undefined || answer >= ids.length))
    throw new Error('a row has no answer to take the probability of');
  const { example } = beforeAnswers(batch),
    targets = answerTokens(batch),
    [tokens, vocabulary] = logits.shape;
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

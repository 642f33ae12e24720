/**
 * The word of RAP (plugins/defences/rap/judge.ts has the loss and its source): the embedding
 * of one word, trained so that the word in front of a clean text lowers the probability of the
 * predicted class. All other weights stay as they are. As in the authors' code, each batch moves
 * the embedding against its gradient, and rescales it to its initial norm.
 */
import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../../src/base/lookup.ts';
import { oneHot } from '../../../src/science/models/loss.ts';
import type { Network, Tensors } from '../../../src/science/models/network.ts';
import { trainTokenRows } from '../../../src/science/models/token-rows.ts';
import type { TokenRow } from '../../../src/science/models/types.ts';
import { gradientsOf } from '../../../src/science/training/gradients.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { differentiable } from '../../../src/tensor/differentiable.ts';

/** A text with the word in front of it. */
export interface MarkedText {
  readonly row: TokenRow;
  /** The class y that the model predicts for the text without the word. */
  readonly predicted: number;
  /** p(y | x), without the word. */
  readonly probability: number;
}

export interface RapSettings {
  readonly low: number;
  readonly up: number;
  /** λ */
  readonly weight: number;
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  /** Called after each batch, and awaited. */
  readonly breathe?: () => Promise<void> | void;
}

/** A word whose embedding is trained, over a network that stays the caller's. */
export interface RapWord {
  /** Trains the embedding, from its value in the model on. */
  train(texts: readonly MarkedText[], settings: RapSettings): Promise<void>;
  /** The embedding, (h). */
  embedding(): Float32Array;
  /** Returns Δ = p(y | x) − p(y | word x) of each text. */
  drops(
    texts: readonly MarkedText[],
    batchSize: number,
    breathe?: () => Promise<void> | void,
  ): Promise<number[]>;
  dispose(): void;
}

/**
 * Returns L of a batch, the mean of λ·max(0, c_low − Δ) + max(0, Δ − c_up). With p_w = p(y | word
 * x),
 *
 *     dL/dp_w = λ/B where Δ < c_low, −1/B where Δ > c_up;  dp_w/df = p_w·(onehot_y − softmax(f)).
 *
 * @param logits of the texts with the word, (B, C)
 */
export function robustnessLoss(
  logits: Tensor2D,
  texts: readonly Pick<MarkedText, 'predicted' | 'probability'>[],
  { low, up, weight }: Pick<RapSettings, 'low' | 'up' | 'weight'>,
): Scalar {
  const [B, C] = logits.shape;
  return differentiable([logits], {
    forward: () => {
      const onehot = oneHot(
        texts.map(({ predicted }) => predicted),
        C,
      );
      const p = tf.softmax(logits); // (B, C)
      const own = tf.sum(tf.mul(p, onehot), 1, true); // (B, 1)
      const plain = tf.tensor2d(
        texts.map(({ probability }) => probability),
        [B, 1],
      );
      const drop = tf.sub(plain, own); // Δ
      const below = tf.relu(tf.sub(low, drop)),
        above = tf.relu(tf.sub(drop, up));
      const slope = tf.div(tf.sub(tf.mul(tf.step(below), weight), tf.step(above)), B); // (B, 1)
      return {
        value: tf.mean<Scalar>(tf.add(tf.mul(below, weight), above)),
        saved: [tf.mul(slope, tf.mul(own, tf.sub(onehot, p)))],
      };
    },
    backward: (dy, [gradient]) => [tf.mul(gradient, dy)],
  });
}

/** @param network a classifier opened for evaluation, whose head does not read the token table */
export function rapWord(network: Network, id: number): RapWord {
  const rows = trainTokenRows(network, [id]),
    own = rows.network,
    name = at(own.trainable, 0);
  let values: Tensors = new Map([[name, named(own.initial, name).clone()]]);
  const replace = (by: Tensors): void => {
    disposeAll(values);
    values = by;
  };
  return {
    train: async (texts, settings) => {
      const { epochs, batchSize, learningRate, breathe = () => undefined } = settings;
      replace(new Map([[name, named(own.initial, name).clone()]]));
      for (let epoch = 0; epoch < epochs; epoch++)
        for (let start = 0; start < texts.length; start += batchSize) {
          const batch = texts.slice(start, start + batchSize);
          const { loss, gradients } = gradientsOf(values, () =>
            robustnessLoss(
              own.forward(
                batch.map(({ row }) => row),
                values,
              ),
              batch,
              settings,
            ),
          );
          const moved = new Map<string, Tensor>([
            [
              name,
              tf.tidy(() =>
                tf.sub(named(values, name), tf.mul(named(gradients, name), learningRate)),
              ),
            ],
          ]);
          replace(rows.atFirstNorms(moved));
          disposeAll(moved, gradients, [loss]);
          await breathe();
        }
    },
    embedding: () => named(values, name).dataSync<'float32'>().slice(),
    drops: async (texts, batchSize, breathe = () => undefined) => {
      const out: number[] = [];
      for (let start = 0; start < texts.length; start += batchSize) {
        const batch = texts.slice(start, start + batchSize);
        const p = tf.tidy(() =>
          tf
            .softmax(
              own.forward(
                batch.map(({ row }) => row),
                values,
              ),
            )
            .dataSync<'float32'>(),
        );
        batch.forEach(({ predicted, probability }, b) =>
          out.push(probability - at(p, b * network.classes + predicted)),
        );
        await breathe();
      }
      return out;
    },
    dispose: () => {
      disposeAll(values, own.initial);
    },
  };
}

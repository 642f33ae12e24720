/**
 * RAP (Yang et al. 2021, section 4; arXiv 2110.07831): the embedding of a rare word is trained so
 * that the word in front of a clean text lowers the probability of the predicted class by c_low to
 * c_up. With a trigger in the text, the prediction is too robust to fall that much. With y the
 * class predicted for a text x, and Δ(x) = p(y | x) − p(y | word x) its drop in probability when
 * the word is put in front,
 *
 *     L = mean over clean held-out texts of λ·max(0, c_low − Δ) + max(0, Δ − c_up).
 *
 * A text is rejected if Δ is below the quantile of clean held-out texts at the allowed false
 * rejection rate.
 */
import type { Scalar, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import {
  type DefenceContext,
  type JsonObject,
  type Judge,
  type Row,
  type RowsDefence,
  UserFault,
} from '../../../src/api.ts';
import { at, named } from '../../../src/base/lookup.ts';
import { droppingSuspects, rejectionThreshold } from '../../../src/defences/threshold.ts';
import { argmax } from '../../../src/science/measures/evaluate/metrics.ts';
import type { OpenedModel } from '../../../src/science/measures/evaluate/predict.ts';
import { softmax } from '../../../src/science/measures/fisher.ts';
import { oneHot } from '../../../src/science/models/loss.ts';
import type { Network, NetworkOptions, Tensors } from '../../../src/science/models/network.ts';
import { tokenRowNetwork } from '../../../src/science/models/token-rows.ts';
import type { TokenRow } from '../../../src/science/models/types.ts';
import {
  openTorchModel,
  readTorchStart,
  type TorchModel,
  wireRows,
} from '../../../src/science/torch/model.ts';
import { gradientsOf } from '../../../src/science/training/gradients.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { differentiable } from '../../../src/tensor/differentiable.ts';
import { yieldToEventLoop } from '../../stages/shared/event-loop.ts';
import { findToken } from './index.ts';

/**
 * Returns the id of the word's token. Throws `UserFault` if the word is not one known token, or if
 * the head reads the token embeddings too, so that training one would change the head.
 */
function wordId({ architecture, encode }: OpenedModel, word: string): number {
  if (architecture.tokenTable === null)
    throw new UserFault(
      `rap trains the embedding of a word, which the ${architecture.head.type} head reads too`,
      'Write head: { type: classifier }.',
      ['defence', 'defence'],
    );
  const id = findToken((text) => [...encode({ id: 'word', text, label: 0 }).ids], word);
  if (typeof id === 'number') return id;
  throw new UserFault(id.message, id.hint, ['defence', ...id.path]);
}

interface RapBounds {
  /** c_low */
  readonly low: number;
  /** c_up */
  readonly up: number;
  /** λ, the weight of drops below c_low. */
  readonly weight: number;
}

/** Returns L of the drops Δ, of which there is at least one. */
export function rapLoss(drops: readonly number[], { low, up, weight }: RapBounds): number {
  const sum = drops.reduce(
    (total, drop) => total + weight * Math.max(0, low - drop) + Math.max(0, drop - up),
    0,
  );
  return sum / drops.length;
}

/**
 * Returns the mean of the drops Δ, of which there is at least one. If it is below c_low, clean
 * texts are as robust as poisoned ones, and the false acceptance rate is near 1 at any threshold:
 * the learning rate was too low.
 */
export const meanDrop = (drops: readonly number[]): number =>
  drops.reduce((sum, drop) => sum + drop, 0) / drops.length;

export interface Params extends RapBounds {
  readonly word: string;
  readonly epochs: number;
  readonly learning_rate?: number;
  readonly frr: number;
}

type Context = DefenceContext<Params, OpenedModel>;

/** Without `learning_rate`, the rates 0.01, 0.1, 1 and 10 are tried in turn. */
const FIRST_RATE = 0.01,
  TRIES = 4,
  BATCH_SIZE = 32;

/** Returns each row with the word in front, and what the model predicts without the word. */
async function markedTexts(
  model: OpenedModel,
  rows: readonly Row[],
  word: string,
): Promise<MarkedText[]> {
  const { classes, encode } = model;
  const all = await model.logits(rows);
  const probabilities = softmax(all, classes),
    predicted = argmax(all, classes);
  return rows.map((row, i) => ({
    row: encode({ ...row, text: `${word} ${row.text}` }),
    predicted: predicted[i]!,
    probability: probabilities[i * classes + predicted[i]!]!,
  }));
}

/**
 * Trains the word on the clean texts that are predicted as one class. Returns the word, which the
 * caller disposes of, the drops Δ of these texts, and the learning rate: the first one at which the
 * mean drop reaches c_low or, if none does, the last one tried.
 */
async function trainWord(
  { params, signal }: Context,
  model: OpenedModel,
  token: number,
  texts: readonly MarkedText[],
): Promise<{ word: RapWord; drops: number[]; learningRate: number }> {
  const { learning_rate: given } = params;
  const rates =
    given === undefined ? Array.from({ length: TRIES }, (_, i) => FIRST_RATE * 10 ** i) : [given];
  const { options } = model;
  const word =
    options === undefined ? rapWord(model.network, token) : await torchRapWord(options, token);
  const onBatch = (): Promise<void> => yieldToEventLoop(signal);
  let drops: number[] = [],
    learningRate = 0;
  try {
    for (learningRate of rates) {
      await word.train(texts, { ...params, batchSize: BATCH_SIZE, learningRate, onBatch });
      drops = await word.drops(texts, model.batchSize, onBatch);
      if (meanDrop(drops) >= params.low) break;
    }
    return { word, drops, learningRate };
  } catch (error) {
    word.dispose();
    throw error;
  }
}

/**
 * Trains the word for each class, on the clean texts predicted as this class. Returns a judge that
 * rejects a text if its drop Δ is below the quantile for its predicted class. If no clean text is
 * predicted as a class, all texts predicted as this class are accepted. Throws `UserFault` if there
 * are no clean rows.
 */
async function fit(context: Context): Promise<Judge> {
  const { model, clean, params, classes, warn, signal } = context;
  if (model === undefined) throw new Error('rap needs the trained model');
  const token = wordId(model, params.word);
  const texts = await markedTexts(model, clean, params.word);
  // By class: the word as trained on the clean rows that are predicted as this class. A text is
  // rejected if −Δ ≥ threshold.
  const fitted = new Map<number, { readonly word: RapWord; readonly threshold: number }>(),
    record: { [name: string]: JsonObject } = {};
  const close = (): void => fitted.forEach(({ word }) => word.dispose());
  try {
    for (const [label, name] of classes.entries()) {
      const ofClass = texts.filter(({ predicted }) => predicted === label);
      if (ofClass.length === 0) {
        warn({
          path: ['defence', 'defence'],
          message: `no clean row is predicted as ${name}, so every text predicted so is accepted`,
        });
        record[name] = { clean_rows: 0 };
        continue;
      }
      const { word, drops, learningRate } = await trainWord(context, model, token, ofClass);
      const threshold = rejectionThreshold(
        drops.map((drop) => -drop),
        params.frr,
      );
      fitted.set(label, { word, threshold });
      const mean = meanDrop(drops);
      record[name] = {
        clean_rows: ofClass.length,
        learning_rate: learningRate,
        mean_drop: mean,
        loss: rapLoss(drops, params),
        least_drop_accepted: -threshold,
      };
      if (mean < params.low)
        warn({
          path: ['defence', 'low'],
          message:
            `the word lowers the probability of ${name} by ${mean.toFixed(3)} on average, ` +
            `not by at least ${params.low}: clean and poisoned texts will look alike`,
        });
    }
    if (fitted.size === 0)
      throw new UserFault(
        'rap has no clean rows to train its word on',
        'Take more validation rows, or name clean rows as data.clean.',
        ['defence', 'defence'],
      );
  } catch (error) {
    close();
    throw error;
  }
  return {
    threshold: 0,
    record: {
      score: 'how far the drop of the probability is below that required for the predicted class',
      by_class: record,
    },
    close,
    judge: async (rows) => {
      const texts = await markedTexts(model, rows, params.word);
      const scores = texts.map(() => -Infinity); // stays so if no word was trained for the class
      for (const [label, { word, threshold }] of fitted) {
        const indexes = texts.flatMap(({ predicted }, i) => (predicted === label ? [i] : []));
        const drops = await word.drops(
          indexes.map((i) => texts[i]!),
          model.batchSize,
          () => yieldToEventLoop(signal),
        );
        indexes.forEach((i, at) => (scores[i] = -drops[at]! - threshold));
      }
      const suspected = scores.map((score) => score >= 0);
      return droppingSuspects(rows, scores, suspected);
    },
  };
}

export const rap: RowsDefence<Params, OpenedModel> = { fit };

/** A text with the word in front of it. */
export interface MarkedText {
  readonly row: TokenRow;
  /** The class y that the model predicts for the text without the word. */
  readonly predicted: number;
  /** p(y | x), without the word. */
  readonly probability: number;
}

interface RapSettings extends RapBounds {
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  /** Called after each batch, and awaited. */
  readonly onBatch?: () => Promise<void> | void;
}

/** Yields the texts in order, in batches of `size`; the last batch may be smaller. */
function* batchesOf(texts: readonly MarkedText[], size: number): Generator<readonly MarkedText[]> {
  for (let start = 0; start < texts.length; start += size) yield texts.slice(start, start + size);
}

const rowsOf = (batch: readonly MarkedText[]): TokenRow[] => batch.map(({ row }) => row);

/**
 * A word whose embedding is trained by plain SGD. Each step ends by scaling the embedding to the
 * norm that it has in the model. The model's other weights stay as they are.
 */
interface RapWord {
  /** Trains the embedding anew, starting from its value in the model. */
  train(texts: readonly MarkedText[], settings: RapSettings): Promise<void>;
  /** Returns Δ = p(y | x) − p(y | word x) of each text. */
  drops(
    texts: readonly MarkedText[],
    batchSize: number,
    onBatch?: RapSettings['onBatch'],
  ): Promise<number[]>;
  dispose(): void;
}

/**
 * Returns L of a batch of B texts: the mean of λ·max(0, c_low − Δ) + max(0, Δ − c_up). Its
 * gradient, with f the logits and p_w = p(y | word x), is
 *
 *     dL/dp_w = λ/B where Δ < c_low, −1/B where Δ > c_up;  dp_w/df = p_w·(onehot_y − softmax(f)).
 *
 * @param logits f of the texts with the word, (B, C), for C classes
 */
export function robustnessLoss(
  logits: Tensor2D,
  texts: readonly Pick<MarkedText, 'predicted' | 'probability'>[],
  { low, up, weight }: RapBounds,
): Scalar {
  const [B, C] = logits.shape;
  return differentiable([logits], {
    forward: () => {
      const onehot = oneHot(
        texts.map(({ predicted }) => predicted),
        C,
      );
      const p = tf.softmax(logits); // (B, C)
      const pWord = tf.sum(tf.mul(p, onehot), 1, true); // p_w (B, 1)
      const plain = tf.tensor2d(
        texts.map(({ probability }) => probability),
        [B, 1],
      );
      const drop = tf.sub(plain, pWord); // Δ (B, 1)
      const below = tf.relu(tf.sub(low, drop)),
        above = tf.relu(tf.sub(drop, up));
      const slope = tf.div(tf.sub(tf.mul(tf.step(below), weight), tf.step(above)), B); // (B, 1)
      return {
        value: tf.mean<Scalar>(tf.add(tf.mul(below, weight), above)),
        saved: [tf.mul(slope, tf.mul(pWord, tf.sub(onehot, p)))],
      };
    },
    backward: (dy, [gradient]) => [tf.mul(gradient, dy)],
  });
}

/**
 * Returns a word that is trained by tfjs in this process.
 * @param network a classifier opened for evaluation, whose head does not read the token table; the
 *   caller disposes of it
 * @param token the word's id
 */
export function rapWord(
  network: Network,
  token: number,
): RapWord & { /** The embedding, (h). */ embedding(): Float32Array } {
  const rows = tokenRowNetwork(network, [token]),
    wordNetwork = rows.network, // its only parameter is the word's row of the token table
    name = at(wordNetwork.trainable, 0);
  let values: Tensors = new Map([[name, named(wordNetwork.initial, name).clone()]]);
  const replaceValues = (by: Tensors): void => {
    disposeAll(values);
    values = by;
  };
  return {
    train: async (texts, settings) => {
      const { epochs, batchSize, learningRate, onBatch = () => undefined } = settings;
      replaceValues(new Map([[name, named(wordNetwork.initial, name).clone()]]));
      for (let epoch = 0; epoch < epochs; epoch++)
        for (const batch of batchesOf(texts, batchSize)) {
          const { loss, gradients } = gradientsOf(values, () =>
            robustnessLoss(wordNetwork.forward(rowsOf(batch), values), batch, settings),
          );
          const embedding = tf.tidy(() =>
            tf.sub(named(values, name), tf.mul(named(gradients, name), learningRate)),
          );
          const moved = new Map([[name, embedding]]);
          replaceValues(rows.atFirstNorms(moved));
          disposeAll(moved, gradients, [loss]);
          await onBatch();
        }
    },
    embedding: () => named(values, name).dataSync<'float32'>().slice(),
    drops: async (texts, batchSize, onBatch = () => undefined) => {
      const out: number[] = [];
      for (const batch of batchesOf(texts, batchSize)) {
        const p = tf.tidy(() =>
          tf.softmax(wordNetwork.forward(rowsOf(batch), values)).dataSync<'float32'>(),
        );
        batch.forEach(({ predicted, probability }, b) =>
          out.push(probability - at(p, b * network.classes + predicted)),
        );
        await onBatch();
      }
      return out;
    },
    dispose: () => {
      disposeAll(values, wordNetwork.initial);
    },
  };
}

/**
 * Returns a word that PyTorch's process trains. Its `drops` throws an Error before the first
 * `train`.
 * @param options of a classifier whose head does not read the token table
 * @param token the word's id
 */
async function torchRapWord(options: NetworkOptions, token: number): Promise<RapWord> {
  const start = await readTorchStart(options);
  let model: TorchModel | null = null;
  const dispose = (): void => model?.dispose();
  return {
    train: async (texts, { epochs, batchSize, learningRate, onBatch, ...bounds }) => {
      dispose();
      model = await openTorchModel(start, wordTraining(token, bounds));
      const { worker, id: modelId } = model;
      for (let epoch = 0; epoch < epochs; epoch++)
        for (const batch of batchesOf(texts, batchSize)) {
          const rows = {
            ...wireRows(batch.map(({ row, predicted }) => ({ ...row, label: predicted }))),
            probabilities: Float32Array.from(batch, ({ probability }) => probability),
          };
          const steps = [{ rate: learningRate, batches: [rows] }];
          await worker.ask('train', { model: modelId, steps });
          await onBatch?.();
        }
    },
    drops: async (texts, batchSize, onBatch) => {
      if (model === null) throw new Error('the word is not trained yet');
      const { classes } = model;
      const p = softmax(await model.logits(rowsOf(texts), batchSize, onBatch), classes);
      return texts.map(
        ({ predicted, probability }, i) => probability - at(p, i * classes + predicted),
      );
    },
    dispose,
  };
}

/**
 * Returns what PyTorch's process is told of the training: only the word's embedding is trained, by
 * plain SGD on L, and each step ends by scaling it to the norm that it has in the model.
 */
const wordTraining = (
  token: number,
  { low, up, weight }: RapBounds,
): Parameters<typeof openTorchModel>[1] => ({
  trainable: ['token_rows'],
  groups: [{ names: ['token_rows'], decay: false, rate: 1 }],
  optimizer: 'sgd',
  weight_decay: 0,
  ...{ beta1: 0, beta2: 0, epsilon: 0, clip_norm: 0, dropout: 0, seed: 0 }, // unused by plain SGD
  class_weights: null,
  precision: 'float32',
  gradient_checkpointing: false,
  objective: { name: 'robustness', low, up, weight },
  token_rows: { ids: [token], keep_norms: true },
});

import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type AskedModel, type Row, UserFault } from '../../../api.ts';
import { defined } from '../../../base/defined.ts';
import { at, named } from '../../../base/lookup.ts';
import { compiled } from '../../../tensor/compiled/compiled.ts';
import { logSumExp, takeRows } from '../../../tensor/rows.ts';
import { generate, type Generated, type GenerateOptions } from '../../models/generate.ts';
import { similarLengths } from '../../models/layout.ts';
import type { Network, NetworkOptions, Tensors } from '../../models/network.ts';
import { answerTokens, beforeAnswers, logitCounter } from '../../models/outputs.ts';
import type { Architecture, Head, TokenRow } from '../../models/types.ts';

/** Called after each batch with the number of rows done, and awaited. */
export type OnBatch = (done: number) => Promise<void> | void;

/** A model as evaluation sees it, on either engine. */
export interface EvaluatedModel {
  readonly architecture: Architecture;
  readonly head: Head;
  readonly classes: number;
  /** Returns the logits of each row, (N, C), row-major. */
  logits(rows: readonly TokenRow[], batchSize: number, onBatch?: OnBatch): Promise<Float32Array>;
  answers(rows: readonly TokenRow[], batchSize: number, onBatch?: OnBatch): Promise<AnswerScore[]>;
  generate(prompts: readonly TokenRow[], options: GenerateOptions): Promise<Generated[]>;
  representations(rows: readonly TokenRow[], batchSize: number, onBatch?: OnBatch): Promise<Pooled>;
}

/** Returns a network as evaluation sees it, at `weights` or, by default, at its initial values. */
export function evaluated(opened: Network, weights?: Tensors): EvaluatedModel {
  const network: Network =
    weights === undefined
      ? opened
      : {
          ...opened,
          forward: (batch, _trained, options) => opened.forward(batch, weights, options),
        };
  return {
    architecture: network.architecture,
    head: network.architecture.head,
    classes: network.classes,
    logits: (...asked) => predict(network, ...asked),
    answers: (rows, batchSize, onBatch) =>
      scoreWith(
        (batch) => scoreBatch(network, batch),
        rows,
        similarLengths(rows, batchSize, logitCounter(network)),
        onBatch,
      ),
    generate: (...asked) => generate(network, ...asked),
    representations: (...asked) => pooledRepresentations(network, ...asked),
  };
}

interface Predictor extends Pick<Network, 'classes'> {
  forward(batch: readonly TokenRow[]): Tensor2D;
  /** Returns how many logits the head makes for a row, which bounds batches. Default: 0. */
  logits?(row: TokenRow): number;
}

/**
 * Returns the logits of the rows, (N, C), row-major. Rows of similar length are batched together,
 * which does not change their logits beyond float32 rounding. Throws as `predictWith` does.
 */
export const predict = (
  network: Predictor,
  rows: readonly TokenRow[],
  batchSize: number,
  onBatch?: OnBatch,
): Promise<Float32Array> =>
  predictWith(
    (batch) => compiled(() => tf.tidy(() => network.forward(batch).dataSync<'float32'>())),
    network.classes,
    rows,
    similarLengths(rows, batchSize, (row) => network.logits?.(row) ?? 0),
    onBatch,
  );

/** The indexes of the rows of each batch. */
type Batches = Iterable<readonly number[]>;

/**
 * Returns the logits (N, C), row-major, in the order of `rows`. Throws UserFault where a logit is
 * not finite: the argmax of NaNs is class 0, which would pass for a prediction.
 * @param logitsOfBatch returns the logits of a batch, (B, C), row-major
 */
export async function predictWith(
  logitsOfBatch: (batch: readonly TokenRow[]) => Promise<Float32Array> | Float32Array,
  classes: number,
  rows: readonly TokenRow[],
  batches: Batches,
  onBatch?: OnBatch,
): Promise<Float32Array> {
  const out = new Float32Array(rows.length * classes);
  await eachBatch(rows, batches, logitsOfBatch, onBatch, (logits, indexes) =>
    indexes.forEach((row, i) => {
      const ofRow = logits.subarray(i * classes, (i + 1) * classes);
      if (!ofRow.every(Number.isFinite))
        throw new UserFault(
          `The logits of row ${row} are not finite: ${[...ofRow].join(', ')}.`,
          "The training diverged: look at the model's loss.",
        );
      out.set(ofRow, row * classes);
    }),
  );
  return out;
}

/** Calls `use` with what `compute` returns for each batch, and the indexes of the batch's rows. */
async function eachBatch<T>(
  rows: readonly TokenRow[],
  batches: Batches,
  compute: (batch: readonly TokenRow[]) => Promise<T> | T,
  onBatch: OnBatch | undefined,
  use: (found: T, indexes: readonly number[]) => void,
): Promise<void> {
  let done = 0;
  for (const indexes of batches) {
    use(await compute(indexes.map((i) => at(rows, i))), indexes);
    await onBatch?.((done += indexes.length));
  }
}

/** A model whose network a defence may use too, such as for gradients. */
export interface OpenedModel extends AskedModel {
  readonly architecture: Architecture;
  readonly network: Network;
  /**
   * The options with which a model in PyTorch's process was opened. Absent for a model in this
   * process.
   */
  readonly options?: NetworkOptions;
  readonly encode: (row: Row) => TokenRow;
  readonly batchSize: number;
}

interface AskedModelOptions extends Pick<OpenedModel, 'options' | 'encode' | 'batchSize'> {
  readonly model: EvaluatedModel;
  /** Absent where the model is in PyTorch's process. */
  readonly network?: Network;
  /** Called and awaited after each batch, so that the worker can yield to the event loop. */
  readonly onBatch: () => Promise<void>;
}

/**
 * Returns a model as a defence sees it. Reading its `network` throws UserFault under the backend
 * torch.
 */
export const openedModel = ({
  model,
  network,
  options,
  encode,
  batchSize,
  onBatch,
}: AskedModelOptions): OpenedModel => ({
  ...defined({ options }),
  encode,
  batchSize,
  get network(): Network {
    if (network !== undefined) return network;
    throw new UserFault(
      'this defence works on the network itself, which the backend torch does not offer it',
      'Run it on another backend: --backend tensorflow.',
    );
  },
  architecture: model.architecture,
  classes: model.classes,
  logits: (rows) => model.logits(rows.map(encode), batchSize, onBatch),
  representations: (rows) => model.representations(rows.map(encode), batchSize, onBatch),
});

/** What the head's last linear layer reads of each of N rows. */
export interface Pooled {
  readonly values: Float64Array; // (N, h), row-major
  readonly count: number; // N
  readonly dimensions: number; // h
}

/**
 * Returns what the head's last linear layer reads of each row, (N, h), in the order of `rows`:
 * under a classifier the pooled token before the output layer (BERT: after the pooler and its
 * activation), under a cloze head the last hidden state at the mask. Throws where the head predicts
 * tokens of an answer, of which a row has several.
 */
export async function pooledRepresentations(
  network: Network,
  rows: readonly TokenRow[],
  batchSize: number,
  onBatch?: OnBatch,
): Promise<Pooled> {
  if (network.architecture.head.type === 'causal-lm')
    throw new Error('a causal-LM head has no representation of a whole row');
  return poolWith(
    (batch) =>
      tf.tidy(() => {
        let last: Tensor2D | undefined; // (B, h)
        network.forward(batch, undefined, { onLinear: (x) => void (last = x) });
        if (last === undefined) throw new Error('a model has at least one linear layer');
        return { width: last.shape[1], data: last.dataSync<'float32'>() };
      }),
    rows,
    similarLengths(rows, batchSize),
    onBatch,
  );
}

/**
 * What the head's last linear layer reads of the rows of a batch, (B, h), row-major; `width` is h.
 */
type PooledBatch = { readonly width: number; readonly data: Float32Array };

/**
 * Gathers what `poolBatch` returns for each batch, in the order of `rows`. For no rows, the width
 * is 0.
 */
export async function poolWith(
  poolBatch: (batch: readonly TokenRow[]) => Promise<PooledBatch> | PooledBatch,
  rows: readonly TokenRow[],
  batches: Batches,
  onBatch?: OnBatch,
): Promise<Pooled> {
  let values = new Float64Array(0),
    dimensions = 0;
  await eachBatch(rows, batches, poolBatch, onBatch, ({ width, data }, indexes) => {
    if (dimensions === 0) values = new Float64Array(rows.length * (dimensions = width));
    indexes.forEach((row, b) => values.set(data.subarray(b * width, (b + 1) * width), row * width));
  });
  return { values, count: rows.length, dimensions };
}

/** How likely a model is to write one answer, with the token that ends it. */
export interface AnswerScore {
  /** −log p(answer | prompt), the sum over the answer's tokens, in nats. */
  readonly loss: number;
  /** The number of the answer's tokens, with the token that ends it. */
  readonly tokens: number;
  /**
   * Whether each token is the likeliest one after the tokens before it, so that greedy decoding
   * writes this answer.
   */
  readonly greedy: boolean;
}

/**
 * −log softmax(logits)[target] of each row. logits: (Q, V), targets: (Q) → (Q, 1). The indexes of
 * the targets are computed in JavaScript. tfjs would compute them in float32, which is exact up to
 * 2²⁴ only, and one long answer has more logits than that.
 */
export function tokenLosses(logits: Tensor2D, targets: readonly number[]): Tensor2D {
  const [Q, V] = logits.shape;
  const index = Int32Array.from(targets, (target, q) => q * V + target);
  const ofTargets = takeRows(tf.reshape(logits, [Q * V, 1]), tf.tensor1d(index, 'int32'));
  return tf.sub(logSumExp(logits), ofTargets);
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

/** Returns the score of each row's answer. Throws UserFault where one is not finite. */
export async function scoreWith(
  scoresOfBatch: (batch: readonly TokenRow[]) => Promise<AnswerScore[]> | AnswerScore[],
  rows: readonly TokenRow[],
  batches: Batches,
  onBatch?: OnBatch,
): Promise<AnswerScore[]> {
  const out = new Map<number, AnswerScore>();
  await eachBatch(rows, batches, scoresOfBatch, onBatch, (scores, indexes) =>
    indexes.forEach((row, k) => {
      const score = at(scores, k);
      if (!Number.isFinite(score.loss))
        throw new UserFault(
          `The loss of the answer of row ${row} is ${score.loss}.`,
          "The training diverged: look at the model's loss.",
        );
      out.set(row, score);
    }),
  );
  return rows.map((_, i) => named(out, i));
}

/** Returns the mean loss over all tokens of the answers, in nats; its exponential is perplexity. */
export function meanAnswerLoss(scores: readonly AnswerScore[]): number {
  const sum = (of: (score: AnswerScore) => number): number =>
    scores.reduce((total, score) => total + of(score), 0);
  return sum(({ loss }) => loss) / sum(({ tokens }) => tokens);
}

/** Returns the share of answers that greedy decoding writes. */
export const greedyShare = (scores: readonly AnswerScore[]): number =>
  scores.filter(({ greedy }) => greedy).length / scores.length;

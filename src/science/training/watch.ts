/** Evaluates a model while it trains, and stops the training when it no longer improves. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import { argmax, meanLoss } from '../measures/evaluate/metrics.ts';
import {
  greedyShare,
  meanAnswerLoss,
  predict,
  scoreAnswers,
} from '../measures/evaluate/predict.ts';
import type { Network, Tensors } from '../models/network.ts';
import type { LabelledRow } from './settings.ts';
import { disposeAll } from './trained-values.ts';

export interface StoppingRule {
  readonly metric: 'loss' | 'accuracy';
  /** Number of consecutive evaluations without an improvement after which the training stops. */
  readonly patience: number;
  /** A change counts as an improvement only if it is larger than this. */
  readonly minDelta: number;
}

/** The result of the evaluations so far; a type alias, so that it counts as JSON. */
export type Standing = {
  readonly best: { readonly step: number; readonly value: number } | null;
  /** Number of evaluations since the best one. */
  readonly since: number;
};

/** The standing before the first evaluation. */
export const atTheStart: Standing = { best: null, since: 0 };

/** The standing after an evaluation, as transformers' EarlyStoppingCallback judges it. */
export function judge(
  { metric, minDelta }: StoppingRule,
  { best, since }: Standing,
  step: number,
  value: number,
): Standing {
  const gain =
    best === null ? Infinity : metric === 'loss' ? best.value - value : value - best.value;
  return gain > 0 && gain > minDelta
    ? { best: { step, value }, since: 0 }
    : { best, since: since + 1 };
}

/** A line of `curves.jsonl`; a type alias, so that it counts as JSON. */
export type CurvePoint = {
  /** The step after which the model was evaluated; 0 means before the first one. */
  readonly step: number;
  /** On the clean validation rows; in a completion task, the share that greedy decoding writes. */
  readonly accuracy: number;
  /** Mean loss on the clean validation rows. */
  readonly loss: number;
  /**
   * For backdoors, the share of validation rows of other classes that are predicted as the target
   * under the trigger; in a completion task, of rows that are answered with the target.
   */
  readonly asr?: number;
  /** Share of the poisoned training rows that are predicted as their poisoned label. */
  readonly poisoned_accuracy?: number;
};

/** The rows on which a training is evaluated. */
export interface Watched {
  readonly validation: readonly LabelledRow[];
  /** The rows under the trigger, with the target as their label or answer. */
  readonly triggered: readonly LabelledRow[] | null;
  readonly poisoned: readonly LabelledRow[];
  readonly batchSize: number;
}

const share = (predictions: readonly number[], right: (i: number) => number): number =>
  predictions.filter((prediction, i) => prediction === right(i)).length / predictions.length;

/** The network with other values instead of its initial ones. */
const withWeights = (network: Network, weights: Tensors): Network => ({
  ...network,
  forward: (batch, _trained, options) => network.forward(batch, weights, options),
});

interface Measured {
  /** The share of rows whose class is predicted, or whose answer greedy decoding writes. */
  readonly accuracy: number;
  /** The mean loss: over the rows, or over the tokens of their answers. */
  readonly loss: number;
}

async function measureRows(
  network: Network,
  rows: readonly LabelledRow[],
  batchSize: number,
  onBatch: () => Promise<void>,
): Promise<Measured> {
  if (network.architecture.head.type === 'causal-lm') {
    const scores = await scoreAnswers(network, rows, batchSize, onBatch);
    return { accuracy: greedyShare(scores), loss: meanAnswerLoss(scores) };
  }
  const { classes } = network,
    labels = rows.map(({ label }) => label);
  const logits = await predict(network, rows, batchSize, onBatch);
  return {
    accuracy: share(argmax(logits, classes), (i) => at(labels, i)),
    loss: meanLoss(logits, labels, classes),
  };
}

/** As `CurvePoint.accuracy`, on any rows. @param onBatch called and awaited after each batch */
export const accuracyOn = async (
  network: Network,
  weights: Tensors,
  rows: readonly LabelledRow[],
  batchSize: number,
  onBatch: () => Promise<void>,
): Promise<number> =>
  (await measureRows(withWeights(network, weights), rows, batchSize, onBatch)).accuracy;

/** Evaluates the network with these weights on all rows that are watched. */
async function measure(
  network: Network,
  weights: Tensors,
  step: number,
  { validation, triggered, poisoned, batchSize }: Watched,
  onBatch: () => Promise<void>,
): Promise<CurvePoint> {
  const evaluated = withWeights(network, weights);
  const accuracy = async (rows: readonly LabelledRow[]): Promise<number> =>
    (await measureRows(evaluated, rows, batchSize, onBatch)).accuracy;
  return {
    step,
    ...(await measureRows(evaluated, validation, batchSize, onBatch)),
    ...(triggered === null ? {} : { asr: await accuracy(triggered) }),
    ...(poisoned.length === 0 ? {} : { poisoned_accuracy: await accuracy(poisoned) }),
  };
}

export interface WatchOptions {
  readonly network: Network;
  readonly watched: Watched;
  /** Number of steps between evaluations. The start and the last step are evaluated as well. */
  readonly every: number;
  readonly steps: number;
  readonly stopping: StoppingRule | null;
  /** Whether the weights of the best evaluation are kept. */
  readonly keepBest: boolean;
  /** Called and awaited after each batch, so that the process can do other work. */
  readonly onBatch: () => Promise<void>;
}

export interface Watch {
  /** Whether a step is to be evaluated; 0 means before the first one. */
  readonly wants: (step: number) => boolean;
  /** Evaluates the weights. Returns `stop` where the stopping rule ends the training. */
  see(step: number, weights: Tensors): Promise<'stop' | undefined>;
  readonly curves: readonly CurvePoint[];
  /** The best evaluation so far; null without a stopping rule. */
  readonly best: Standing['best'];
  /** The weights of the best evaluation, where they are kept. They belong to the watch. */
  readonly bestWeights: Tensors;
  /** The state of the watch as JSON, to be saved. */
  facts(): JsonObject;
  /** Continues from what `facts` returned. */
  restore(facts: JsonObject, bestWeights: Map<string, Tensor>): void;
  dispose(): void;
}

export function watchTraining({
  network,
  watched,
  every,
  steps,
  stopping,
  keepBest,
  onBatch,
}: WatchOptions): Watch {
  let curves: CurvePoint[] = [],
    standing = atTheStart,
    kept = new Map<string, Tensor>();
  return {
    wants: (step) => step % every === 0 || step === steps,
    see: async (step, weights) => {
      const point = await measure(network, weights, step, watched, onBatch);
      curves.push(point);
      if (stopping === null) return undefined;
      standing = judge(stopping, standing, step, point[stopping.metric]);
      if (keepBest && standing.best?.step === step) {
        disposeAll(kept);
        kept = new Map([...weights].map(([name, tensor]) => [name, tensor.clone()]));
      }
      return standing.since >= stopping.patience ? 'stop' : undefined;
    },
    get curves() {
      return curves;
    },
    get best() {
      return standing.best;
    },
    get bestWeights() {
      return kept;
    },
    facts: () => ({ curves, standing }),
    restore: (facts, bestWeights) => {
      curves = [...(facts['curves'] as readonly CurvePoint[])];
      standing = facts['standing'] as Standing;
      kept = bestWeights;
    },
    dispose: () => disposeAll(kept),
  };
}

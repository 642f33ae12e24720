/** Evaluates a model while it trains, and stops the training when it no longer improves. */
import type { JsonObject } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import { argmax, meanLoss } from '../measures/evaluate/metrics.ts';
import { type EvaluatedModel, greedyShare, meanAnswerLoss } from '../measures/evaluate/predict.ts';
import type { LabelledRow } from './settings.ts';

export interface StoppingRule {
  readonly metric: 'loss' | 'accuracy';
  /** Number of consecutive evaluations without an improvement after which the training stops. */
  readonly patience: number;
  /** A change counts as an improvement only if it is larger than this. */
  readonly minDelta: number;
}

/** The result of the evaluations so far; a type alias, so that it counts as JSON. */
export type Standing = {
  /** The first of the evaluations with the best value. */
  readonly best: { readonly step: number; readonly value: number } | null;
  /** How many evaluations there were after the last one that was better by more than `minDelta`. */
  readonly since: number;
};

/** The standing before the first evaluation. */
export const atTheStart: Standing = { best: null, since: 0 };

/**
 * Returns the standing after an evaluation, as transformers' EarlyStoppingCallback and Trainer
 * judge it: each evaluation is compared with the best before it, and `minDelta` has a say only in
 * when the training stops.
 */
export function judge(
  { metric, minDelta }: StoppingRule,
  { best, since }: Standing,
  step: number,
  value: number,
): Standing {
  const gain =
    best === null ? Infinity : metric === 'loss' ? best.value - value : value - best.value;
  return {
    best: gain > 0 ? { step, value } : best,
    since: gain > 0 && gain > minDelta ? 0 : since + 1,
  };
}

/** A line of `curves.jsonl`; a type alias, so that it counts as JSON. */
export type CurvePoint = {
  /** The step after which the model was evaluated; 0 means before the first one. */
  readonly step: number;
  /** On the clean validation rows; in a completion task, the share of answers written greedily. */
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

/** Returns the share of predictions that are right, `right(i)` being the i-th row's label. */
const shareRight = (predictions: readonly number[], right: (i: number) => number): number =>
  predictions.filter((prediction, i) => prediction === right(i)).length / predictions.length;

interface Measured {
  /** The share of rows whose class is predicted, or whose answer greedy decoding writes. */
  readonly accuracy: number;
  /** The mean loss: over the rows, or over the tokens of their answers. */
  readonly loss: number;
}

/** Returns the accuracy and the loss on rows. */
async function measureRows(
  model: EvaluatedModel,
  rows: readonly LabelledRow[],
  batchSize: number,
  onBatch: () => Promise<void>,
): Promise<Measured> {
  if (model.head.type === 'causal-lm') {
    const scores = await model.answers(rows, batchSize, onBatch);
    return { accuracy: greedyShare(scores), loss: meanAnswerLoss(scores) };
  }
  const { classes } = model,
    labels = rows.map(({ label }) => label);
  const logits = await model.logits(rows, batchSize, onBatch);
  return {
    accuracy: shareRight(argmax(logits, classes), (i) => at(labels, i)),
    loss: meanLoss(logits, labels, classes),
  };
}

/**
 * Returns the accuracy on any rows, measured as `CurvePoint.accuracy`.
 * @param onBatch called and awaited after each batch
 */
export const accuracyOn = async (
  model: EvaluatedModel,
  rows: readonly LabelledRow[],
  batchSize: number,
  onBatch: () => Promise<void>,
): Promise<number> => (await measureRows(model, rows, batchSize, onBatch)).accuracy;

/** Returns a point of the training's curves, measured on all rows that are watched. */
async function measure(
  model: EvaluatedModel,
  step: number,
  { validation, triggered, poisoned, batchSize }: Watched,
  onBatch: () => Promise<void>,
): Promise<CurvePoint> {
  const accuracy = (rows: readonly LabelledRow[]): Promise<number> =>
    accuracyOn(model, rows, batchSize, onBatch);
  return {
    step,
    ...(await measureRows(model, validation, batchSize, onBatch)),
    ...(triggered === null ? {} : { asr: await accuracy(triggered) }),
    ...(poisoned.length === 0 ? {} : { poisoned_accuracy: await accuracy(poisoned) }),
  };
}

/** A model while it is trained, with the weights that it has then. */
export interface ModelInTraining extends EvaluatedModel {
  /** Writes the model in the form of a train stage's output. */
  save(dir: string): Promise<void>;
  /** Keeps a copy of the weights in the place of those kept before. */
  keep(): Promise<void> | void;
}

export interface WatchOptions {
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
  /** Evaluates the model. Returns `stop` where the stopping rule ends the training. */
  see(step: number, model: ModelInTraining): Promise<'stop' | undefined>;
  readonly curves: readonly CurvePoint[];
  /** The best evaluation so far, whose weights the model keeps; null where none are kept. */
  readonly kept: Standing['best'];
  /** The state of the watch as JSON, to be saved. */
  facts(): JsonObject;
  /** Continues from what `facts` returned. */
  restore(facts: JsonObject): void;
}

/** Returns the watch of a training of `steps` steps. */
export function watchTraining({
  watched,
  every,
  steps,
  stopping,
  keepBest,
  onBatch,
}: WatchOptions): Watch {
  let curves: CurvePoint[] = [],
    standing = atTheStart;
  return {
    wants: (step) => step % every === 0 || step === steps,
    see: async (step, model) => {
      const point = await measure(model, step, watched, onBatch);
      curves.push(point);
      // The untrained model is no result of the training: it is measured, but never kept.
      if (stopping === null || step === 0) return undefined;
      standing = judge(stopping, standing, step, point[stopping.metric]);
      if (keepBest && standing.best?.step === step) await model.keep();
      return standing.since >= stopping.patience ? 'stop' : undefined;
    },
    get curves() {
      return curves;
    },
    get kept() {
      return keepBest ? standing.best : null;
    },
    facts: () => ({ curves, standing }),
    restore: (facts) => {
      curves = [...(facts['curves'] as readonly CurvePoint[])];
      standing = facts['standing'] as Standing;
    },
  };
}

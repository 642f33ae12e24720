import type { JsonObject } from '../../api.ts';
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

/** The result of the evaluations so far. A type alias, so that TypeScript accepts it as JSON. */
export type Standing = {
  /** The first evaluation with the best value; null before any. */
  readonly best: { readonly step: number; readonly value: number } | null;
  /**
   * The number of evaluations since the last one that was better than the best before it by more
   * than `minDelta`.
   */
  readonly since: number;
};

export const atTheStart: Standing = { best: null, since: 0 };

/**
 * Returns the standing after an evaluation, as transformers' EarlyStoppingCallback and Trainer
 * judge it. Each evaluation is compared with the best before it. Any gain makes it the best;
 * `minDelta` only affects `since`, and so when the training stops.
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

/** A line of `curves.jsonl`. A type alias, so that TypeScript accepts it as JSON. */
export type CurvePoint = {
  /** The step after which the model was evaluated; 0 means before the first one. */
  readonly step: number;
  /**
   * The share of clean validation rows whose class is predicted or, in a completion task, whose
   * answer greedy decoding writes.
   */
  readonly accuracy: number;
  /** The mean loss of the same rows, as `measureRows` returns it. */
  readonly loss: number;
  /**
   * For backdoors: under the trigger, the share of validation rows of other classes that are
   * predicted as the target; in a completion task, the share of rows that are answered with the
   * target. Absent without a trigger.
   */
  readonly asr?: number;
  /**
   * The share of the poisoned training rows that are predicted as their poisoned label or, in a
   * completion task, answered with their poisoned answer. Absent if there are none.
   */
  readonly poisoned_accuracy?: number;
};

export interface Watched {
  readonly validation: readonly LabelledRow[];
  /** The rows under the trigger, whose label or answer is the target; null without a backdoor. */
  readonly triggered: readonly LabelledRow[] | null;
  readonly poisoned: readonly LabelledRow[];
  readonly batchSize: number;
}

/**
 * Returns `accuracy`, the share of rows whose class is predicted or whose answer greedy decoding
 * writes, and `loss`, the mean over the rows or over the tokens of their answers.
 * @param onBatch called and awaited after each batch
 */
export async function measureRows(
  model: EvaluatedModel,
  rows: readonly LabelledRow[],
  batchSize: number,
  onBatch: () => Promise<void>,
): Promise<Pick<CurvePoint, 'accuracy' | 'loss'>> {
  if (model.head.type === 'causal-lm') {
    const scores = await model.answers(rows, batchSize, onBatch);
    return { accuracy: greedyShare(scores), loss: meanAnswerLoss(scores) };
  }
  const { classes } = model,
    labels = rows.map(({ label }) => label);
  const logits = await model.logits(rows, batchSize, onBatch);
  const right = argmax(logits, classes).filter((predicted, i) => predicted === labels[i]);
  return {
    accuracy: right.length / rows.length,
    loss: meanLoss(logits, labels, classes),
  };
}

async function measure(
  model: EvaluatedModel,
  step: number,
  { validation, triggered, poisoned, batchSize }: Watched,
  onBatch: () => Promise<void>,
): Promise<CurvePoint> {
  const scoresOf = (rows: readonly LabelledRow[]): ReturnType<typeof measureRows> =>
    measureRows(model, rows, batchSize, onBatch);
  return {
    step,
    ...(await scoresOf(validation)),
    ...(triggered === null ? {} : { asr: (await scoresOf(triggered)).accuracy }),
    ...(poisoned.length === 0 ? {} : { poisoned_accuracy: (await scoresOf(poisoned)).accuracy }),
  };
}

/** A model while it is trained, with the weights that it has then. */
export interface ModelInTraining extends EvaluatedModel {
  /** Writes the model in the form of a train stage's output. */
  save(dir: string): Promise<void>;
  /** Keeps a copy of the present weights, which replaces the copy kept before. */
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
  /** Whether the model is to be evaluated after this step; 0 means before the first one. */
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

/**
 * Returns the watch over a training that begins. The evaluation before the first step neither stops
 * the training nor is kept.
 */
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

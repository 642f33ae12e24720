/** Looks at a training on its way: accuracy, attack success and accuracy on the poisoned rows over steps; and stops it when it gets no better. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import { argmax, meanLoss } from '../evaluate/metrics.ts';
import { predict } from '../evaluate/predict.ts';
import type { Network, Tensors } from '../nn/network.ts';
import type { TokenRow } from '../nn/types.ts';
import { atTheStart, judge, type Standing, type StoppingRule } from './early-stopping.ts';
import type { LabelledRow } from './settings.ts';
import { disposeAll } from './trained-values.ts';

/** A line of `curves.jsonl`. */
export interface CurvePoint {
  /** 0: before the first step. */
  readonly step: number;
  /** On the validation rows, clean. */
  readonly accuracy: number;
  readonly loss: number;
  /** Backdoors: validation rows of other classes that the trigger leads to the target class. */
  readonly asr?: number;
  /** Poisoned training rows that are predicted as they were poisoned to. */
  readonly poisoned_accuracy?: number;
}

export interface Watched {
  readonly validation: readonly LabelledRow[];
  readonly triggered: { readonly rows: readonly TokenRow[]; readonly target: number } | null;
  readonly poisoned: readonly LabelledRow[];
  readonly batchSize: number;
}

const share = (predictions: readonly number[], right: (i: number) => number): number =>
  predictions.filter((prediction, i) => prediction === right(i)).length / predictions.length;

/** The network with other values in place of its initial ones. */
const withWeights = (network: Network, weights: Tensors): Network => ({
  ...network,
  forward: (batch, _trained, options) => network.forward(batch, weights, options),
});

/** Share of rows that are predicted as they are labelled. */
export async function accuracyOn(
  network: Network,
  weights: Tensors,
  rows: readonly LabelledRow[],
  batchSize: number,
  breathe: () => Promise<void>,
): Promise<number> {
  return share(
    argmax(await predict(withWeights(network, weights), rows, batchSize, breathe), network.classes),
    (i) => rows[i]!.label,
  );
}

async function measure(
  network: Network,
  weights: Tensors,
  step: number,
  { validation, triggered, poisoned, batchSize }: Watched,
  breathe: () => Promise<void>,
): Promise<CurvePoint> {
  const labels = validation.map(({ label }) => label),
    { classes } = network;
  const logits = await predict(withWeights(network, weights), validation, batchSize, breathe);
  return {
    step,
    accuracy: share(argmax(logits, classes), (i) => labels[i]!),
    loss: meanLoss(logits, labels, classes),
    ...(triggered === null
      ? {}
      : {
          asr: share(
            argmax(
              await predict(withWeights(network, weights), triggered.rows, batchSize, breathe),
              classes,
            ),
            () => triggered.target,
          ),
        }),
    ...(poisoned.length === 0
      ? {}
      : { poisoned_accuracy: await accuracyOn(network, weights, poisoned, batchSize, breathe) }),
  };
}

export interface WatchOptions {
  readonly network: Network;
  readonly watched: Watched;
  /** Steps between looks; the start and the last step are looked at as well. */
  readonly every: number;
  readonly steps: number;
  readonly stopping: StoppingRule | null;
  /** Whether the weights of the best look are kept. */
  readonly keepBest: boolean;
  readonly breathe: () => Promise<void>;
}

export interface Watch {
  wants(step: number): boolean;
  see(step: number, weights: Tensors): Promise<'stop' | void>;
  readonly curves: readonly CurvePoint[];
  /** The best look so far; null without a stopping rule. */
  readonly best: Standing['best'];
  /** Its weights, where they are kept. They belong to the watch. */
  readonly bestWeights: Tensors;
  facts(): JsonObject;
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
  breathe,
}: WatchOptions): Watch {
  let curves: CurvePoint[] = [],
    standing = atTheStart,
    kept = new Map<string, Tensor>();
  return {
    wants: (step) => step % every === 0 || step === steps,
    see: async (step, weights) => {
      const point = await measure(network, weights, step, watched, breathe);
      curves.push(point);
      if (stopping === null) return;
      standing = judge(stopping, standing, step, point[stopping.metric]);
      if (keepBest && standing.best?.step === step) {
        disposeAll(kept);
        kept = new Map([...weights].map(([name, tensor]) => [name, tensor.clone()]));
      }
      if (standing.since >= stopping.patience) return 'stop';
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
    facts: () => ({ curves, standing }) as unknown as JsonObject,
    restore: (facts, bestWeights) => {
      const saved = facts as unknown as { curves: CurvePoint[]; standing: Standing };
      curves = [...saved.curves];
      standing = saved.standing;
      kept = bestWeights;
    },
    dispose: () => disposeAll(kept),
  };
}

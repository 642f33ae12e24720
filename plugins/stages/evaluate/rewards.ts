import type { Row } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at } from '../../../src/base/lookup.ts';
import { mean, signTest } from '../../../src/base/stats.ts';
import { startingModel } from '../../../src/data/model-folder.ts';
import type { EvaluatedModel } from '../../../src/science/measures/evaluate/predict.ts';
import { encodePair, type RowEncoder } from '../../../src/science/text/encoder.ts';
import { readTrainRecord } from '../../../src/science/training/adapted-model.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import { inputDir, type Metrics } from '../shared/files.ts';
import { loadAdapter, loadArchitecture, openModel } from '../shared/trained-model.ts';
import type { Context } from './index.ts';

export interface Rewards {
  /**
   * Returns for each pair, in order, the reward of its chosen answer minus that of the rejected
   * one, β·(g_c − g_r). Here g_c and g_r say how much log p(answer | prompt) of the chosen and of
   * the rejected answer has grown since the reference, the model from which the training by DPO
   * started (Rafailov et al. 2023, equation 5; what is the same for all answers to a prompt falls
   * out).
   */
  margins(rows: readonly Row[]): Promise<readonly number[]>;
  dispose(): void;
}

/**
 * Opens the reference, from which rewards are measured. Returns null if nothing was trained by DPO,
 * or if the rows are not pairs.
 */
export async function openRewards(
  context: Context,
  evaluated: EvaluatedModel,
  encode: RowEncoder,
): Promise<Rewards | null> {
  const { assets, inputs, params, signal } = context;
  if (params.completion?.rewards === undefined) return null;
  const { beta } = params.completion.rewards;
  const trainDir = inputDir(context, 'reference');
  const base = inputs['reference_base'];
  const model = await startingModel({ assets, inputs: defined({ base }) });
  const { adapter } = await readTrainRecord(trainDir);
  const reference = await openModel(context, {
    trainDir,
    model,
    architecture: await loadArchitecture(context, params.architecture, model.path),
    adapter: await loadAdapter(context, adapter['type'] as string),
  });
  return {
    margins: async (rows) => {
      if (rows.length === 0) return [];
      // Each row's chosen answer, followed by its rejected one.
      const sides = rows.flatMap((row) => encodePair(row, params.max_length, encode));
      const onBatch = () => yieldToEventLoop(signal);
      const now = await evaluated.answers(sides, params.batch_size, onBatch),
        before = await reference.model.answers(sides, params.batch_size, onBatch);
      /** Returns how much log p of the i-th of `sides` has grown since the reference. */
      const gain = (i: number): number => at(before, i).loss - at(now, i).loss;
      return rows.map((_, i) => beta * (gain(2 * i) - gain(2 * i + 1)));
    },
    dispose: reference.dispose,
  };
}

/**
 * Returns TRL's `rewards/accuracies` and `rewards/margins`, under names of this stage. A pair with
 * equal rewards does not count as accurate. Empty without rewards.
 */
export function rewardMetrics(margins: readonly number[] | null = null, prefix = ''): Metrics {
  if (margins === null) return {};
  return {
    [`${prefix}reward_accuracy`]: mean(margins.map((margin) => Number(margin > 0))),
    [`${prefix}reward_margin`]: mean(margins),
  };
}

/**
 * Returns the two-sided p of the sign test of the hypothesis that the chosen and the rejected
 * answer are equally likely to have the larger reward.
 */
export const rewardP = (margins: readonly number[]): number =>
  signTest(
    margins.filter((margin) => margin > 0).length,
    margins.filter((margin) => margin < 0).length,
  );

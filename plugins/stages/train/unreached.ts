/** Warns of settings that lie beyond the last step of a training. */
import type { Problem } from '../../../src/api.ts';
import { knownCounts } from '../../../src/data/known-counts.ts';
import { totalRows } from '../../../src/poisoning/dose.ts';
import { totalSteps } from '../../../src/science/training/batches.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';
import type { Preflight } from './params.ts';

/**
 * Returns warnings if the training ends before its warm-up, or before its first evaluation. Nothing
 * is known of a training by epochs whose rows a defence filters, or take long to count.
 */
export async function unreachedProblems(
  context: Preflight,
  training: TrainParams,
): Promise<readonly Problem[]> {
  const { warmup, evaluate_every: every = 0 } = training;
  if (warmup === 0 && every === 0) return [];
  const steps = await stepsOf(context, training);
  if (steps === null) return [];
  const ends = `the training ends after ${steps} ${steps === 1 ? 'step' : 'steps'}`;
  const problems: Problem[] = [];
  if (warmup >= steps)
    problems.push({
      path: ['train', 'warmup'],
      message: `${ends}, within its warm-up of ${warmup}: it never reaches its learning rate`,
      warning: true,
    });
  if (every > steps)
    problems.push({
      path: ['train', 'evaluate_every'],
      message: `${ends}, before step ${every}: only the start and the end are evaluated`,
      warning: true,
    });
  return problems;
}

/** Returns the number of steps of a training, or null if it is not known before anything runs. */
async function stepsOf(context: Preflight, training: TrainParams): Promise<number | null> {
  if (training.steps !== undefined) return training.steps;
  const set = context.upstream?.['data'];
  const data = set?.params['poisoning'] === undefined ? undefined : set.upstream?.['data'];
  const counts = data === undefined ? null : await knownCounts(context, data);
  if (counts === null) return null;
  const { batch_size: batchSize, accumulate = 1 } = training;
  return totalSteps(training, { rows: totalRows(counts), batchSize, accumulate });
}

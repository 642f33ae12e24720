import { type RunContext, UserFault } from '../../../src/api.ts';
import { adaptedModel } from '../../../src/science/training/adapted-model.ts';
import { writeJson, writeMetrics } from '../shared/files.ts';
import { type Between, kernelsBetween } from './between.ts';
import { distanceAt, type Point } from './distance.ts';
import type { Params } from './index.ts';
import { writeResults } from './results.ts';
import { openTrainings, type Training, type Trainings } from './trainings.ts';

type Context = RunContext<Params>;

export async function run(context: Context): Promise<void> {
  if (context.inputs['clean'] === undefined) {
    await writeNothing(context);
    return;
  }
  const trainings = await openTrainings(context);
  const steps = commonSteps(trainings, context.warn);
  const { points, between } = await measure(context, trainings, steps);
  await writeResults(context, points, between);
}

async function writeNothing({ outDir, log }: Context): Promise<void> {
  const nothing = { points: [], mean: null, noise_floor: null, between: null };
  await writeJson(outDir, 'divergence.json', nothing, 1);
  await writeMetrics(outDir, {});
  log('nothing to compare: no attack, or one that trains no layer');
}

/** Returns the steps at which both runs' models are available, ascending. */
function commonSteps(
  { poisoned, clean }: { readonly poisoned: Training; readonly clean: Training },
  warn: Context['warn'],
): number[] {
  const common = poisoned.steps.filter((step) => clean.steps.includes(step));
  if (common.length === 0)
    throw new UserFault(
      `the poisoned run ends at step ${poisoned.end} and its clean twin at step ${clean.end}, ` +
        'and they kept no step in common: M compares the two at the same steps',
      'Ask for steps that both reach in train.checkpoints.',
    );
  if (poisoned.end !== clean.end)
    warn({
      path: [],
      message:
        `the poisoned run ends at step ${poisoned.end}, its clean twin at step ${clean.end}: ` +
        `M compares them at the steps that both kept (${common.join(', ')})`,
    });
  return common;
}

/** Measures M at each step, and M′ where the runs start. */
function measure(
  context: Context,
  trainings: Trainings,
  steps: readonly number[],
): Promise<{ readonly points: readonly Point[]; readonly between: Between | null }> {
  const { start } = trainings;
  return start.atEnd(async (network) => {
    const points: Point[] = [];
    for (const step of steps) {
      points.push(await distanceAt(step, network, trainings, context.signal));
      context.progress(points.length, steps.length, 'checkpoints');
    }
    return { points, between: await kernelsBetween(context, start, adaptedModel(network)) };
  });
}

import { type RunContext, UserFault } from '../../../src/api.ts';
import { type Metrics, writeJson, writeMetrics } from '../shared/files.ts';
import { type Between, kernelsBetween } from './between.ts';
import {
  distanceAt,
  flatDistances,
  FLOOR,
  type MeanDistance,
  meanNoiseFloor,
  meanOver,
  type NoiseFloor,
  overFloor,
  type Point,
} from './distance.ts';
import type { Params } from './index.ts';
import { openTrainings, type Training } from './trainings.ts';

type Context = RunContext<Params>;

/**
 * Measures M at each common step, and M′. Without a clean run to compare with, writes empty
 * results.
 */
export async function run(context: Context): Promise<void> {
  const { inputs, outDir, log } = context;
  if (inputs['clean'] === undefined) {
    const nothing = { points: [], mean: null, noise_floor: null, between: null };
    await writeJson(outDir, 'divergence.json', nothing, 1);
    await writeMetrics(outDir, {});
    log('nothing to compare: no attack, or one that trains no layer');
    return;
  }
  const trainings = await openTrainings(context);
  const steps = commonSteps(trainings, context.warn);
  const { start } = trainings;
  await start.at(start.end, async (network) => {
    const points: Point[] = [];
    for (const step of steps) {
      points.push(await distanceAt(step, network, trainings, context.signal));
      context.progress(points.length, steps.length, 'checkpoints');
    }
    await writeResults(context, points, await kernelsBetween(context, start.options));
  });
}

/**
 * Returns the steps that both runs kept. Warns if the runs end at different steps. Throws
 * `UserFault` if no step is common.
 */
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

/**
 * Writes `divergence.json` and `metrics.json`. Warns if M or M′ misses an effect of the poison, or
 * contains an effect of something else.
 */
async function writeResults(
  { params, outDir, log, warn }: RunContext<Params>,
  points: readonly Point[],
  between: Between | null,
): Promise<void> {
  const mean = meanOver(points);
  const noise = meanNoiseFloor(points, params.no_floor);
  await writeJson(outDir, 'divergence.json', { points, mean, noise_floor: noise, between }, 1);
  await writeMetrics(outDir, {
    checkpoints: points.length,
    ...flatDistances(mean),
    // M and the floor are distances from the same clean run: its change is already among M's
    // metrics.
    ...(noise.measured && flatDistances(noise.mean, 'floor.', 'clean_change')),
    ...(noise.measured && overFloor(points)),
    ...(between && betweenMetrics(between)),
  });
  log(meanLine(points.length, mean));
  if (mean.total === null)
    warn({
      path: ['adapter', 'type'],
      message:
        "the adapter trains no layer's weight: M covers what it does train, and cannot be " +
        "compared with LoRA's or full fine-tuning's `total`",
    });
  log(noiseLine(noise));
  if (params.dropout)
    warn({
      path: ['train', 'dropout'],
      message:
        'with dropout, M (like accuracy_drop and asr_minus_clean) also contains the effect of ' +
        'different masks: where the attack changes the shape of batches (longer texts, added ' +
        'rows), the two runs draw different masks',
    });
  if (between !== null && between.alike === between.pairs)
    warn({
      path: ['poisoning', 'attack'],
      message:
        "M' cannot see this attack: the model reads every poisoned row as it reads the original",
    });
}

/** Returns the metrics of M′; those of LoRA only if its kernel was computed. */
function betweenMetrics({ pairs, alike, full, lora }: Between): Metrics {
  return {
    pairs,
    alike,
    'between.full.raw': full.raw,
    'between.full.cosine': full.cosine,
    ...(lora && { 'between.lora.raw': lora.raw, 'between.lora.cosine': lora.cosine }),
  };
}

function meanLine(pointCount: number, { trained, head }: MeanDistance): string {
  const distance = trained ?? head;
  if (distance === null) return 'nothing is trained: there is no M';
  const { largest, l2, relative } = distance;
  return (
    `M over ${pointCount} ${pointCount === 1 ? 'point' : 'points'}, ` +
    `${trained === null ? 'of the head' : 'of all that is trained below the head'}: ` +
    `largest ${largest.toExponential(2)}, L2 ${l2.toPrecision(3)}, ` +
    `relative ${relative?.toFixed(3) ?? 'undefined'}`
  );
}

function noiseLine(noise: NoiseFloor): string {
  if (!noise.measured) return `noise floor not measured: ${noise.reason}`;
  const distance = noise.mean.trained ?? noise.mean.head;
  return `noise floor: ${FLOOR}; its L2 is ${distance?.l2.toExponential(2) ?? 'undefined'}`;
}

/** `divergence.json`, `metrics.json` and the log's summary. */
import type { RunContext } from '../../../src/api.ts';
import { type Metrics, writeJson, writeMetrics } from '../shared/files.ts';
import type { Between } from './between.ts';
import { flatDistances, type MeanDistance, meanOver } from './compare-runs.ts';
import { FLOOR, type NoiseFloor, noiseFloorOf, overFloor, type Point } from './distance.ts';
import type { Params } from './index.ts';

export async function writeResults(
  { params, outDir, log, warn }: RunContext<Params>,
  points: readonly Point[],
  between: Between | null,
): Promise<void> {
  const mean = meanOver(points);
  const noise = noiseFloorOf(points, params.no_floor);
  await writeJson(outDir, 'divergence.json', { points, mean, noise_floor: noise, between }, 1);
  await writeMetrics(outDir, {
    checkpoints: points.length,
    ...flatDistances(mean),
    ...(noise.measured
      ? {
          // Both are distances from the same clean run, so M's metrics already hold that run's
          // change.
          ...flatDistances(noise.mean, 'floor.', ['clean_change']),
          ...overFloor(points),
        }
      : {}),
    ...(between === null ? {} : metricsOf(between)),
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
  if (params.dropout === true)
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

function metricsOf({ pairs, alike, full, lora }: Between): Metrics {
  return {
    pairs,
    alike,
    'between.full.raw': full.raw,
    'between.full.cosine': full.cosine,
    ...(lora === null ? {} : { 'between.lora.raw': lora.raw, 'between.lora.cosine': lora.cosine }),
  };
}

function meanLine(points: number, mean: MeanDistance): string {
  const distance = mean.trained ?? mean.head;
  if (distance === null) return 'nothing is trained: there is no M';
  const { largest, l2, relative } = distance;
  return (
    `M over ${points} ${points === 1 ? 'point' : 'points'}, ` +
    `${mean.trained === null ? 'of the head' : 'of all that is trained below the head'}: ` +
    `largest ${largest.toExponential(2)}, L2 ${l2.toPrecision(3)}, ` +
    `relative ${relative?.toFixed(3) ?? 'undefined'}`
  );
}

function noiseLine(noise: NoiseFloor): string {
  if (!noise.measured) return `noise floor not measured: ${noise.reason}`;
  const distance = noise.mean.trained ?? noise.mean.head;
  return `noise floor: ${FLOOR}; its L2 is ${distance?.l2.toExponential(2) ?? 'undefined'}`;
}

import { existsSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pointName, pointsIn, type RunContext } from '../../../src/api.ts';
import {
  KERNEL_FILES,
  readKernels,
  readPremises,
  type StoredKernels as Kernels,
} from '../../../src/science/measures/ntk/files.ts';
import { inputDir, type Metrics, prefixed, writeMetrics } from '../shared/files.ts';

const KINDS = ['full', 'lora'] as const;

/**
 * Copies the kernels of all points of the training. Writes the metrics of the kernels at each point
 * and, for the points after `init`, of how far they have moved since.
 */
export async function run(context: RunContext): Promise<void> {
  const metrics: Metrics = {};
  const points = new Map<string, Kernels>();
  for (const at of pointsIn(Object.keys(context.inputs)).map(pointName)) {
    const from = inputDir(context, at);
    await copyKernelFiles(from, join(context.outDir, at));
    const kernels = await readKernels(from);
    points.set(at, kernels);
    Object.assign(metrics, prefixed(await metricsAt(from, kernels), `${at}.`));
  }
  const start = points.get('init');
  for (const [at, kernels] of points) {
    if (at === 'init' || start === undefined) continue;
    // Metrics of the whole training have no prefix. Metrics of the training up to a kept step have
    // the step's name as prefix.
    const prefix = at === 'final' ? '' : `${at}.`;
    Object.assign(metrics, prefixed(metricsSince(start, kernels), prefix));
  }
  await writeMetrics(context.outDir, metrics);
}

async function copyKernelFiles(from: string, to: string): Promise<void> {
  await mkdir(to);
  for (const name of KERNEL_FILES)
    if (existsSync(join(from, name))) await copyFile(join(from, name), join(to, name));
}

/**
 * Returns the metrics at one point: of each kernel, of LoRA's kernel against the full one, and of
 * Δ_r.
 */
async function metricsAt(dir: string, kernels: Kernels): Promise<Metrics> {
  const { rows, classes, full, lora, errors } = kernels;
  const metrics: Metrics = {};
  for (const kind of KINDS) if (errors[kind] !== null) metrics[`${kind}.error`] = errors[kind];
  metrics['rows'] = rows;
  if (full !== null) metrics['full.mean_trace'] = meanTrace(full, rows, classes);
  if (lora !== null) metrics['lora.mean_trace'] = meanTrace(lora, rows, classes);
  if (lora !== null && full !== null) metrics['alignment'] = cosine(lora, full);
  const premises = await readPremises(dir);
  if (premises.length === 0) return metrics;
  metrics['delta.largest'] = Math.max(...premises.map(({ measured }) => measured.high));
  const semidefinite = premises.filter((layer) => layer.negative_semidefinite);
  metrics['delta.semidefinite_layers'] = semidefinite.length / premises.length;
  return metrics;
}

/**
 * Returns how far each kernel moved from the start to now and, of projected kernels, the larger of
 * the two standard errors. A kernel that is lacking at either point is left out.
 */
function metricsSince(start: Kernels, now: Kernels): Metrics {
  const metrics: Metrics = {};
  for (const kind of KINDS) {
    const before = start[kind];
    const after = now[kind];
    if (before === null || after === null) continue;
    metrics[`${kind}.drift`] = drift(after, before);
    metrics[`${kind}.rotation`] = 1 - cosine(after, before);
    const errors = [now, start].flatMap((point) => point.errors[kind] ?? []);
    if (errors.length > 0) metrics[`${kind}.error`] = Math.max(...errors);
  }
  return metrics;
}

/** Returns ⟨K, K'⟩_F / (‖K‖_F ‖K'‖_F) of two kernels, K = `a` and K' = `b`. */
function cosine(a: Float64Array, b: Float64Array): number {
  let product = 0,
    ofA = 0,
    ofB = 0;
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!;
    ofA += a[i]! ** 2;
    ofB += b[i]! ** 2;
  }
  return product / Math.sqrt(ofA * ofB);
}

/** Returns ‖K(t) − K(0)‖_F / ‖K(0)‖_F, where K(t) is `now` and K(0) is `start`. */
function drift(now: Float64Array, start: Float64Array): number {
  let difference = 0,
    norm = 0;
  for (let i = 0; i < start.length; i++) {
    difference += (now[i]! - start[i]!) ** 2;
    norm += start[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Returns the mean over the N rows i of Σ_c K[(i,c),(i,c)], where K is `kernel`, (N, C, N, C). */
export function meanTrace(kernel: Float64Array, rows: number, classes: number): number {
  const size = rows * classes;
  let sum = 0;
  for (let x = 0; x < size; x++) sum += kernel[x * size + x]!;
  return sum / rows;
}

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
import { inputDir, type Metrics, renamed, writeMetrics } from '../shared/files.ts';

const KINDS = ['full', 'lora'] as const;

/** Copies the kernels of each point, and writes the metrics that compare them. */
export async function run(context: RunContext): Promise<void> {
  const metrics: Metrics = {};
  const points = new Map<string, Kernels>();
  for (const at of pointsIn(Object.keys(context.inputs)).map(pointName)) {
    const from = inputDir(context, at);
    await copyKernelFiles(from, join(context.outDir, at));
    const kernels = await readKernels(from);
    points.set(at, kernels);
    Object.assign(
      metrics,
      renamed(await metricsAt(from, kernels), (name) => `${at}.${name}`),
    );
  }
  const start = points.get('init');
  for (const [at, kernels] of points) {
    if (at === 'init' || start === undefined) continue;
    // Metrics of the whole training have no prefix, those up to a kept step the step's name.
    const prefix = at === 'final' ? '' : `${at}.`;
    Object.assign(
      metrics,
      renamed(metricsSince(start, kernels), (name) => prefix + name),
    );
  }
  await writeMetrics(context.outDir, metrics);
}

async function copyKernelFiles(from: string, to: string): Promise<void> {
  await mkdir(to);
  for (const name of KERNEL_FILES)
    if (existsSync(join(from, name))) await copyFile(join(from, name), join(to, name));
}

/** Returns metrics of the kernels at one point, of LoRA's against the full one, and of its Δ_r. */
async function metricsAt(dir: string, kernels: Kernels): Promise<Metrics> {
  const { rows, classes, full, lora, errors } = kernels;
  const metrics: Metrics = {};
  for (const kind of KINDS) if (errors[kind] !== null) metrics[`${kind}.error`] = errors[kind];
  metrics['rows'] = rows;
  if (full !== null) metrics['full.mean_trace'] = meanTrace(full, rows, classes);
  if (lora !== null) metrics['lora.mean_trace'] = meanTrace(lora, rows, classes);
  if (lora !== null && full !== null) metrics['alignment'] = cosine(lora, full);
  const premises = await readPremises(dir);
  if (premises.length > 0) {
    metrics['delta.largest'] = Math.max(...premises.map(({ measured }) => measured.high));
    metrics['delta.semidefinite_layers'] =
      premises.filter((layer) => layer.negative_semidefinite).length / premises.length;
  }
  return metrics;
}

/** Compares each kernel now with the same kernel at the start. */
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

/** Returns ⟨K, K'⟩_F / (‖K‖_F ‖K'‖_F). */
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

/** Returns ‖K(t) − K(0)‖_F / ‖K(0)‖_F. */
function drift(now: Float64Array, start: Float64Array): number {
  let difference = 0,
    norm = 0;
  for (let i = 0; i < start.length; i++) {
    difference += (now[i]! - start[i]!) ** 2;
    norm += start[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Returns the mean over rows i of Σ_c K[(i,c),(i,c)]. kernel: (N, C, N, C) */
export function meanTrace(kernel: Float64Array, rows: number, classes: number): number {
  const size = rows * classes;
  let sum = 0;
  for (let x = 0; x < size; x++) sum += kernel[x * size + x]!;
  return sum / rows;
}

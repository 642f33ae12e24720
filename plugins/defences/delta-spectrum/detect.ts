/**
 * Detection of a backdoor by the spectrum of each layer's weight change ΔW, without running the
 * model (Puertolas Merenciano et al. 2026; arXiv 2602.15195): a backdoor is a simple map, which
 * concentrates ΔW in few directions. For each layer, with σ the singular values of ΔW, descending,
 * and p_i = σ_i²/Σσ²,
 *
 *     leading = σ₁,  norm = ‖ΔW‖_F,  energy = p₁,  entropy = −Σ p_i ln p_i,
 *     kurtosis = m₄/m₂² − 3, with m_k the k-th central moment of the entries of ΔW.
 *
 * The paper trains a classifier on adapters that are known to be clean or poisoned. A defender who
 * has only clean models compares a model with them. The model's score is the mean of |z| over
 * layers and statistics. z is how far a statistic is from its mean over the clean models, as a
 * multiple of its standard deviation over them.
 */
import { readFile } from 'node:fs/promises';
import { type Asset, UserFault, type Verdict } from '../../../src/api.ts';
import { isRecord } from '../../../src/base/untrusted/json.ts';
import { weightChange } from '../../../src/defences/prune.ts';
import { rejectionThreshold } from '../../../src/defences/threshold.ts';
import type { ModelDetector, WeightsContext } from '../../../src/science/measures/weights/edit.ts';
import { singularValues } from '../../../src/tensor/linalg.ts';
import { yieldToEventLoop } from '../../stages/shared/event-loop.ts';

export interface Params {
  readonly reference?: string;
  readonly energy: number;
  readonly frr: number;
}

/** The fewest clean models, so that each of them can be compared with at least two others. */
const FEWEST_MODELS = 3;

/**
 * Returns the statistics of each layer that the training changed, by the layer's name; {} if it
 * changed none.
 */
async function layerStatistics(context: WeightsContext<Params>): Promise<ModelStatistics> {
  const { layers, progress, signal } = context;
  const out: { [layer: string]: ModelStatistics[string] } = {};
  for (const [i, { name, in: n, out: m }] of layers.entries()) {
    const change = weightChange(context, `${name}.weight`);
    if (change.some((value) => value !== 0)) out[name] = changeStatistics(change, [m, n]);
    progress(i + 1, layers.length, 'layers');
    await yieldToEventLoop(signal);
  }
  return out;
}

/**
 * Whether a value is an object whose every field has all of `STATISTICS` as finite numbers; {} is
 * one.
 */
const isStatistics = (value: unknown): value is ModelStatistics =>
  isRecord(value) &&
  Object.values(value).every(
    (layer) => isRecord(layer) && STATISTICS.every((name) => Number.isFinite(layer[name])),
  );

/**
 * Reads the clean models' statistics. Blank lines are skipped. Throws UserFault if the file has
 * anything else, or too few models.
 */
async function readReference({ path, uri }: Asset): Promise<ModelStatistics[]> {
  const lines = (await readFile(path, 'utf8')).split('\n');
  const fault = (message: string): UserFault =>
    new UserFault(
      `${uri}: ${message}`,
      'Put the detection.json of clean models into it, each on a line.',
      ['defence', 'reference'],
    );
  const models = lines.flatMap((line, i) => {
    if (line.trim() === '') return [];
    let parsed: unknown;
    try {
      parsed = JSON.parse(line);
    } catch {
      throw fault(`line ${i + 1} is not JSON`);
    }
    const statistics = isRecord(parsed) ? parsed['statistics'] : undefined;
    if (!isStatistics(statistics)) throw fault(`line ${i + 1} has no statistics of layers`);
    return [statistics];
  });
  if (models.length < FEWEST_MODELS)
    throw fault(`it has ${models.length} models, and at least ${FEWEST_MODELS} are needed`);
  return models;
}

/**
 * Scores the model by its distance from clean models or, without a reference, by the mean of p₁
 * over layers. Throws `UserFault` if the training changed no layer, or if the reference can't be
 * read or compared with the model.
 */
async function judge(context: WeightsContext<Params>): Promise<Verdict> {
  const { assets, params } = context;
  const statistics = await layerStatistics(context);
  const layers = Object.values(statistics);
  if (layers.length === 0)
    throw new UserFault(
      'the training changed no layer, so there is nothing to judge',
      'Choose an adapter that trains layers.',
    );
  const asset = assets['reference'];
  if (asset === undefined)
    return {
      score: layers.reduce((sum, { energy }) => sum + energy, 0) / layers.length,
      threshold: params.energy,
      record: { statistics, compared_with: 'no model: the threshold is that of the spec' },
    };
  const clean = await readReference(asset);
  try {
    return {
      score: distanceFromClean(statistics, clean),
      threshold: rejectionThreshold(distancesAmongClean(clean), params.frr),
      record: { statistics, compared_with: `${clean.length} clean models` },
    };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UserFault(
      `${asset.uri}: ${error.message}`,
      'Compare with models of the same architecture, trained with the same adapter.',
      ['defence', 'reference'],
    );
  }
}

export const deltaSpectrum: ModelDetector<Params> = { judge };

export const STATISTICS = ['leading', 'norm', 'energy', 'entropy', 'kurtosis'] as const;
export type ChangeStatistics = Readonly<Record<(typeof STATISTICS)[number], number>>;

/** The statistics of a model's layers, by the layers' names. */
type ModelStatistics = Readonly<Record<string, ChangeStatistics>>;

/** Returns m₄/m₂² − 3 of the values, which is 0 for a normal distribution; 0 if all are equal. */
function excessKurtosis(values: Float64Array): number {
  const n = values.length,
    mean = values.reduce((sum, x) => sum + x, 0) / n;
  let second = 0,
    fourth = 0;
  for (const x of values) {
    const square = (x - mean) ** 2;
    second += square / n;
    fourth += square ** 2 / n;
  }
  return second === 0 ? 0 : fourth / second ** 2 - 3;
}

/**
 * Returns the statistics of one layer's change; all are zero if the layer did not change.
 * @param change ΔW (m, n), row-major
 */
export function changeStatistics(
  change: Float64Array,
  [m, n]: readonly [number, number],
): ChangeStatistics {
  const values = singularValues(change, m, n);
  const squares = Array.from(values, (value) => value * value),
    total = squares.reduce((a, b) => a + b, 0);
  if (total === 0) return { leading: 0, norm: 0, energy: 0, entropy: 0, kurtosis: 0 };
  return {
    leading: values[0]!,
    norm: Math.sqrt(total),
    energy: squares[0]! / total,
    entropy: squares.reduce(
      (sum, value) => (value > 0 ? sum - (value / total) * Math.log(value / total) : sum),
      0,
    ),
    kurtosis: excessKurtosis(change),
  };
}

/** A standard deviation of at most this share of the mean counts as rounding error. */
const ROUNDING = 1e-9;

/**
 * Returns the mean of |z| over all layers and statistics. A statistic of a layer is left out if the
 * clean models agree in it up to rounding.
 * @param clean the statistics of clean models
 * @throws RangeError if the clean models are fewer than two, have other layers than the model, or
 *   agree in every statistic
 */
export function distanceFromClean(
  model: ModelStatistics,
  clean: readonly ModelStatistics[],
): number {
  const layers = Object.keys(model).sort();
  if (clean.length < 2)
    throw new RangeError('a standard deviation needs at least two clean models');
  if (clean.some((other) => Object.keys(other).sort().join('\n') !== layers.join('\n')))
    throw new RangeError('the clean models have other layers than the model');
  const distances: number[] = [];
  for (const layer of layers)
    for (const statistic of STATISTICS) {
      const values = clean.map((other) => other[layer]![statistic]);
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      const deviation = Math.sqrt(
        values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1),
      );
      if (deviation > ROUNDING * Math.abs(mean))
        distances.push(Math.abs(model[layer]![statistic] - mean) / deviation);
    }
  if (distances.length === 0) throw new RangeError('the clean models agree in every statistic');
  return distances.reduce((a, b) => a + b, 0) / distances.length;
}

/** Returns the distance (`distanceFromClean`) of each clean model from the other ones. */
export const distancesAmongClean = (clean: readonly ModelStatistics[]): number[] =>
  clean.map((own, i) =>
    distanceFromClean(
      own,
      clean.filter((_, j) => j !== i),
    ),
  );

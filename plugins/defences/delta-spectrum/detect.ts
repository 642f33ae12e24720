import { readFile } from 'node:fs/promises';
import { type Asset, type JsonObject, UserFault, type Verdict } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import { isRecord } from '../../../src/base/untrusted/json.ts';
import { rejectionThreshold } from '../../../src/defences/threshold.ts';
import type { ModelDetector, WeightsContext } from '../../../src/science/measures/weights/edit.ts';
import { breathe } from '../../stages/shared/breathe.ts';
import {
  changeStatistics,
  distanceFromClean,
  distancesAmongClean,
  type ModelStatistics,
  STATISTICS,
} from './change-spectrum.ts';

export interface Params {
  readonly reference?: string;
  readonly energy: number;
  readonly frr: number;
}

/** The smallest number of clean models: each is compared with at least two others. */
const FEWEST = 3;

/** The statistics of each layer that the training changed. */
async function statisticsOf({
  after,
  before,
  layers,
  progress,
  signal,
}: WeightsContext<Params>): Promise<ModelStatistics> {
  const out: { [layer: string]: ModelStatistics[string] } = {};
  for (const [i, { name, in: n, out: m }] of layers.entries()) {
    const end = named(after, `${name}.weight`).data,
      start = named(before, `${name}.weight`).data;
    const change = Float64Array.from(end, (value, at) => value - start[at]!);
    if (change.some((value) => value !== 0)) out[name] = changeStatistics(change, [m, n]);
    progress(i + 1, layers.length, 'layers');
    await breathe(signal);
  }
  return out;
}

const isStatistics = (value: unknown): value is ModelStatistics =>
  isRecord(value) &&
  Object.values(value).every(
    (layer) => isRecord(layer) && STATISTICS.every((name) => Number.isFinite(layer[name])),
  );

/** Reads the clean models' statistics. Throws UserFault where the file has something else. */
async function readReference({ path, uri }: Asset): Promise<ModelStatistics[]> {
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line.trim() !== '');
  const fault = (message: string): UserFault =>
    new UserFault(
      `${uri}: ${message}`,
      'Put the detection.json of clean models into it, each on a line.',
      ['defence', 'reference'],
    );
  const models = lines.map((line, i) => {
    let parsed: unknown;
    try {
      parsed = JSON.parse(line);
    } catch {
      throw fault(`line ${i + 1} is not JSON`);
    }
    const statistics = isRecord(parsed) ? parsed['statistics'] : undefined;
    if (!isStatistics(statistics)) throw fault(`line ${i + 1} has no statistics of layers`);
    return statistics;
  });
  if (models.length < FEWEST)
    throw fault(`it has ${models.length} models, and at least ${FEWEST} are needed`);
  return models;
}

async function judge(context: WeightsContext<Params>): Promise<Verdict> {
  const { assets, params } = context;
  const statistics = await statisticsOf(context);
  const layers = Object.values(statistics);
  if (layers.length === 0)
    throw new UserFault(
      'the training changed no layer, so there is nothing to judge',
      'Choose an adapter that trains layers.',
    );
  const record: JsonObject = { statistics };
  const asset = assets['reference'];
  if (asset === undefined)
    return {
      score: layers.reduce((sum, { energy }) => sum + energy, 0) / layers.length,
      threshold: params.energy,
      record: { ...record, compared_with: 'no model: the threshold is that of the spec' },
    };
  const clean = await readReference(asset);
  try {
    return {
      score: distanceFromClean(statistics, clean),
      threshold: rejectionThreshold(distancesAmongClean(clean), params.frr),
      record: { ...record, compared_with: `${clean.length} clean models` },
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

/** `plan --hardware NAME`: what trainings would take elsewhere. Fetches config.json at most. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Asset, BackendName, Digest, Forecast } from '../api.ts';
import { parseUri } from '../data/format.ts';
import type { PlannedStage } from '../plan/types.ts';
import type { Assets, StageStatus } from '../run/execute/survey.ts';
import { type Prepared, sourceContext } from '../run/prepare.ts';
import { columns, count, duration, say, wrap } from './terminal.ts';

interface Hardware {
  readonly name: string;
  readonly engine: BackendName;
  /** The approximate floating-point operations per second of a training in float32. */
  readonly rate: number;
  /** The device's own memory, in MiB; null if it uses the machine's. */
  readonly memoryMB: number | null;
  readonly source: string;
}

/** The share of a GPU's peak that a training is assumed to reach. */
const REACHED = 0.5;

/**
 * Returns a GPU.
 * @param peak its peak in TFLOP/s in float32, without tensor cores, which are not used
 * @param gb its memory in GiB
 */
const gpu = (name: string, peak: number, gb: number): Hardware => ({
  name,
  engine: 'torch',
  rate: REACHED * peak * 1e12,
  memoryMB: gb * 1024,
  source: `${peak} TFLOP/s in float32 by NVIDIA's data sheet, of which half is assumed`,
});

/** The approximate operations per second of one processor core in matrix products. */
export const OPERATIONS_PER_SECOND = 5e10;

export const HARDWARE: { readonly [name: string]: Hardware } = {
  cpu: {
    name: 'one processor core',
    engine: 'tensorflow',
    rate: OPERATIONS_PER_SECOND,
    memoryMB: null,
    source: '50 GFLOP/s, a round figure for one core',
  },
  a6000: gpu('one RTX A6000', 38.7, 48),
  a100: gpu('one A100', 19.5, 80),
  h100: gpu('one H100 SXM', 66.9, 80),
};

/**
 * One time is given for rows of this mean length, in tokens, and another for rows of the greatest
 * length.
 */
const SHORT_TOKENS = 32;

export type Foretold = ReadonlyMap<PlannedStage, Forecast>;

/**
 * Returns what the stages are expected to take on the hardware. Of models that are not fetched,
 * only config.json is read. Stages without a forecast are left out.
 */
export async function foretoldOn(
  { engine }: Hardware,
  prepared: Prepared,
  toRun: readonly StageStatus[],
): Promise<Foretold> {
  const { forecasts } = await import('../run/execute/preflight.ts');
  const folder = mkdtempSync(path.join(tmpdir(), 'dosimeter-config-'));
  try {
    const assets = await withConfigs(prepared, folder);
    return await forecasts({ backend: engine }, toRun, assets, prepared.registry);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Says what trainings take on the hardware.
 * @param all how many trainings there are, including those of which nothing is foretold
 */
export function hardwareLine(hardware: Hardware, foretold: Foretold, all: number): string {
  const { name, engine, rate, memoryMB, source } = hardware;
  const known = [...foretold.values()].filter(({ steps }) => steps !== undefined);
  const longest = Math.max(...known.map(({ length }) => length)),
    memoryGB = Math.max(...known.map((own) => own.memoryMB)) / 1024,
    devices = Math.max(...known.map((own) => own.devices ?? 1));
  /** Says how long the known trainings take with rows of min(`tokens`, `length`) tokens. */
  const time = (tokens: number): string =>
    duration(
      known.reduce(
        (sum, { steps = 0, stepOperations, length }) =>
          sum + (steps * stepOperations * Math.min(1, tokens / length)) / rate,
        0,
      ),
    );
  const words = [
    ...(known.length === 0
      ? []
      : [
          `${count(known.length, 'training')} one after another: ` +
            (longest > SHORT_TOKENS
              ? `${time(SHORT_TOKENS)} if rows have ${SHORT_TOKENS} tokens on average, `
              : '') +
            `at most ${time(longest)} (${longest} tokens)` +
            (devices === 1 ? '' : `, as if one device computed what up to ${devices} share`),
          `at most ${memoryGB.toFixed(1)}${memoryMB === null ? '' : ` of ${memoryMB / 1024}`} GB ` +
            `of memory${devices === 1 ? '' : ' on each device'}`,
        ]),
    ...(known.length < all
      ? [`without ${count(all - known.length, 'training')}, in epochs or of unknown models`]
      : []),
    `${source}, not measured; evaluations are not counted`,
  ];
  return wrap(`${name}, ${engine}: ${words.join('; ')}`, columns(), '  ');
}

/**
 * Returns the assets and, for each model that is not fetched, a folder with its config.json, if its
 * source can give a single file.
 */
async function withConfigs({ plan, assets, registry }: Prepared, folder: string): Promise<Assets> {
  const known = new Map(assets);
  for (const uri of new Set(plan.experiment.cells.map(({ config }) => config.model.source))) {
    if (known.get(uri)) continue;
    const source = registry.get('source', parseUri(uri).scheme)?.descriptor;
    const asked = source?.peek?.(uri, 'config.json', sourceContext(say), true);
    const config = (await asked?.catch(() => null)) ?? null;
    if (config === null) continue;
    const dir = mkdtempSync(path.join(folder, 'model-'));
    writeFileSync(path.join(dir, 'config.json'), config);
    const asset: Asset = { uri, path: dir, digest: '' as Digest, provenance: {} };
    known.set(uri, asset);
  }
  return known;
}

/** The files that a train stage writes. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { defined } from '../../../src/base/defined.ts';
import type { Tensors } from '../../../src/science/models/network.ts';
import type { TrainRecord } from '../../../src/science/training/adapted-model.ts';
import type { Journal } from '../../../src/science/training/journal.ts';
import type { StepRecord } from '../../../src/science/training/settings.ts';
import { scalarEvents, writeEventFile } from '../../../src/science/training/tensorboard.ts';
import type { CurvePoint } from '../../../src/science/training/watch.ts';
import { assetOf, type Metrics, writeJson, writeJsonLines, writeMetrics } from '../shared/files.ts';
import type { Context } from './params.ts';
import type { Start } from './start.ts';

export interface Output {
  /**
   * Writes the model.
   * @param weights null for the weights that the training starts from
   * @param dir by default, the output folder
   */
  save(weights: Tensors | null, dir?: string): Promise<void>;
  /** Writes `train.json`, `history.jsonl` and `metrics.json`. @param more fields of `train.json` */
  write(history: readonly StepRecord[], metrics: Metrics, more?: object): Promise<void>;
}

export function openOutput(context: Context, start: Start, classes: readonly string[]): Output {
  const { outDir } = context;
  const { model, network } = start;
  const record = recordOf(context, start, classes);
  const base = context.inputs['base'] === undefined ? undefined : model.digest;
  const trainable = network.trainable.reduce(
    (sum, name) => sum + (network.initial.get(name)?.size ?? 0),
    0,
  );
  return {
    save: (weights, dir = outDir) => start.save(weights, dir, model.path, classes, base),
    write: async (history, metrics, more = {}) => {
      const steps = history.length;
      await writeJson(outDir, 'train.json', { ...record, steps, ...more });
      await writeJsonLines(outDir, 'history.jsonl', history);
      await writeMetrics(outDir, { steps, trainable_parameters: trainable, ...metrics });
    },
  };
}

/** Returns `train.json` without the fields that say how far the training went. */
function recordOf(
  context: Context,
  { model, attack, tokenRows }: Start,
  classes: readonly string[],
): TrainRecord {
  const { params, assets, inputs } = context;
  const isBased = inputs['base'] !== undefined;
  return {
    format: 1,
    architecture: params.architecture,
    model: model.digest,
    ...(isBased ? { source: assetOf(context, 'model').digest } : {}),
    classes,
    seed: params.seed,
    steps: 0,
    adapter: params.adapter,
    head: params.head,
    init: model.init ?? 'pretrained',
    head_init: assets['head']?.digest ?? null,
    adapter_init: assets['adapter']?.digest ?? null,
    train: params.train,
    ...defined({ batch_rows: params.batch_rows }),
    ...(attack === null ? {} : { attack: params.attack }),
    ...defined({ defence: params.defence }),
    ...(tokenRows === null ? {} : { token_rows: tokenRows }),
  };
}

/** Writes the history for TensorBoard. */
export async function writeEvents(
  outDir: string,
  journal: Journal,
  curves: readonly CurvePoint[],
): Promise<void> {
  const [started = 0] = journal.times;
  const dir = join(outDir, 'tensorboard');
  await mkdir(dir);
  const file = join(dir, 'events.out.tfevents');
  await writeEventFile(file, scalarEvents(journal, curves), started);
}

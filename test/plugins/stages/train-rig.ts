/** The train stage on the tiny BERT: its definition, a training, and the model it leaves. */
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import train from '../../../plugins/stages/train/index.ts';
import type {
  Asset,
  Cell,
  PreflightContext,
  Row,
  RunContext,
  StageDefinition,
} from '../../../src/api.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { openTrained } from '../../../src/science/training/adapted-model.ts';
import { bert } from '../../science/families.ts';
import { bitfit, headOnly } from '../../science/plain-adapters.ts';
import {
  contextOf,
  lookUp,
  modelAsset,
  poisonedFolder,
  type Ran,
  runStage,
  spokenRows,
} from './rig.ts';

export const ADAPTERS = { lora, full, bitfit, 'head-only': headOnly };

export const rows = spokenRows(23);
/** The folder of a poison stage that left the rows unchanged. */
export const data = await poisonedFolder(rows);

export const define = (cell: Cell): StageDefinition =>
  train.define([cell], { with: {}, goals: [], plugin: lookUp });

export const trainOn = (
  cell: Cell,
  inputs: { readonly [name: string]: string } = { data },
  assets: { readonly [name: string]: Asset } = {},
  context: Partial<RunContext> = {},
): Promise<Ran> => runStage(train, cell, inputs, {}, assets, context);

/** Returns the problems that preflight finds, as `field: message`. */
export async function preflight(
  cell: Cell,
  model: Asset = modelAsset,
  more: Pick<Partial<PreflightContext>, 'backend' | 'runsHere' | 'upstream'> = {},
): Promise<string[]> {
  const problems = await train.preflight?.({
    ...contextOf(define(cell), { assets: { model } }),
    ...more,
  });
  return (problems ?? []).map(
    ({ path, message, warning }) => `${warning ? 'warning ' : ''}${path.join('.')}: ${message}`,
  );
}

/** Calls `use` with the model that a training left, or with that of the step `at`. */
export async function opened<T>(
  trainDir: string,
  adapter: AdapterImplementation,
  use: (network: Network) => T | Promise<T>,
  at?: number,
): Promise<T> {
  const { network } = await openTrained({
    trainDir,
    model: modelAsset,
    architecture: bert,
    adapter,
    ...(at === undefined ? {} : { at }),
  });
  try {
    return await use(network);
  } finally {
    network.dispose();
  }
}

/** The rows with another text or label at some places, as an attack makes them. */
export const rewritten = (
  places: readonly number[],
  change: (row: Row) => Partial<Row>,
): { readonly index: number; readonly row: Row }[] =>
  places.map((index) => {
    const row = rows[index];
    if (row === undefined) throw new Error(`there is no row ${index}`);
    return { index, row: { ...row, ...change(row) } };
  });

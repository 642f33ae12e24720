/**
 * Tiny classifiers that have learnt their rows, and rows to evaluate them on, on the backend cpu.
 */
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import type { Cell, JsonObject, Row } from '../../../src/api.ts';
import { useBackend } from '../../science/backend.ts';
import { datasetFolder, poisonedFolder, runStage, spokenRows, tinyCell, withTrain } from './rig.ts';

await useBackend('cpu');

/** Trains on the rows until the tiny model tells them apart. Returns the folder of `train`. */
export async function learnt(training: readonly Row[]): Promise<string> {
  const data = await poisonedFolder(training);
  return (await runStage(train, withTrain({ steps: 30, learning_rate: 0.02 }), { data })).dir;
}

/** Validation rows: six negative and five positive. */
export const rows = spokenRows(11, 100);
export const validation = await datasetFolder(rows);
export const model = await learnt(spokenRows(24));

export const define = (cell: Cell, request: JsonObject = {}) =>
  evaluate.define([cell], { with: request, goals: [] });

/** A cell with test rows. */
export const testedCell = (): Cell => {
  const { data, ...rest } = tinyCell();
  return { ...rest, data: { ...data, test: data.validation } };
};

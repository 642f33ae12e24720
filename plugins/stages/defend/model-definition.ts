/** The definition that the stages share which open a trained model for a defence. */
import {
  beforeTraining,
  type Cell,
  type DefineRequest,
  type StageDefinition,
  startInputs,
} from '../../../src/api.ts';
import {
  cleanRows,
  defenceOf,
  type DefenceParams,
  defenceParts,
  needsOf,
} from '../shared/defended.ts';
import { type ModelNames, modelNames, modelUses } from '../shared/definition.ts';

export type ModelParams = ModelNames & {
  readonly defence: DefenceParams;
  readonly seed: number;
  readonly batch_size: number;
  readonly max_length: number;
};

/** Throws an Error if the cell has no defence that acts at this moment. */
export function modelDefinition(
  cell: Cell,
  moment: 'model' | 'detection',
  plugin: DefineRequest['plugin'],
): StageDefinition<ModelParams> {
  const defence = defenceOf(cell, plugin);
  if (defence?.acts.has(moment) !== true)
    throw new Error(`the cell has no defence that acts on ${moment}`);
  const { params, assets, uses } = defenceParts(defence);
  return {
    params: {
      ...modelNames(cell),
      defence: params,
      seed: cell.seed,
      batch_size: cell.evaluate.batch_size,
      max_length: cell.train.max_length,
    },
    inputs: {
      model: { kind: 'train', cell },
      start: { kind: 'train', cell: beforeTraining(cell) },
      ...(needsOf(defence, moment).includes('clean') ? { clean: cleanRows(cell) } : {}),
      ...startInputs(cell),
    },
    assets: { model: cell.model.source, ...assets },
    uses: [...modelUses(cell), ...uses],
  };
}

import { defineStage, type StageDefinition, startInputs } from '../../../src/api.ts';
import {
  askedModel,
  cleanRows,
  defenceOf,
  type DefenceParams,
  defenceParts,
  needsOf,
  preflightOf,
} from '../shared/defended.ts';
import { type ModelNames, modelNames, modelUses, onlyCell } from '../shared/definition.ts';

export type Params = {
  readonly defence: DefenceParams;
  readonly seed: number;
  /**
   * How the model that was trained on the unfiltered rows is asked. Absent unless the defence needs
   * this model.
   */
  readonly model?: ModelNames & { readonly batch_size: number; readonly max_length: number };
};

export default defineStage<Params>({
  name: 'defend',
  summary:
    'Filters the training rows by a defence, and compares what it dropped with what was poisoned.',
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells, { plugin }) {
    const cell = onlyCell(cells);
    const defence = defenceOf(cell, plugin);
    if (defence?.acts.has('rows') !== true)
      throw new Error('the cell has no defence that filters training rows');
    const { params, assets, uses } = defenceParts(defence);
    const needs = needsOf(defence, 'rows');
    const common = { defence: params, seed: cell.seed };
    const inputs: StageDefinition['inputs'] = {
      data: { kind: 'poison', cell },
      ...(needs.includes('clean') && { clean: cleanRows(cell) }),
    };
    if (!needs.includes('model')) return { params: common, inputs, assets, uses };
    const {
      evaluate: { batch_size },
      train: { max_length },
    } = cell;
    return {
      params: { ...common, model: { ...modelNames(cell), batch_size, max_length } },
      inputs: { ...inputs, model: askedModel(cell, defence), ...startInputs(cell) },
      assets: { model: cell.model.source, ...assets },
      uses: [...modelUses(cell), ...uses],
    };
  },
  preflight: preflightOf('rows'),
  run: async (context) => (await import('./run.ts')).run(context),
});

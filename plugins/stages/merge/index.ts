import { defineStage, heldWeights, startInputs, UserFault } from '../../../src/api.ts';
import { type ModelNames, modelNames, modelUses, onlyCell } from '../shared/definition.ts';

export default defineStage<ModelNames>({
  name: 'merge',
  summary:
    'Writes the trained model as a whole checkpoint that transformers can load, with the adapter ' +
    'merged into the weights.',
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells) {
    const cell = onlyCell(cells);
    if (heldWeights(cell.model).weights?.quantize !== undefined)
      throw new UserFault(
        'an adapter of a quantised base is not merged: it was trained on other weights than ' +
          'those that a merged checkpoint would have',
        'Leave merge out of stages, or write model.quantize: none.',
        ['model', 'quantize'],
      );
    return {
      params: modelNames(cell),
      inputs: { model: { kind: 'train', cell }, ...startInputs(cell) },
      assets: { model: cell.model.source },
      uses: modelUses(cell),
    };
  },
  run: async (context) => (await import('./run.ts')).run(context),
});

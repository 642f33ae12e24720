import { defineStage, startInputs } from '../../../src/api.ts';
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
    return {
      params: modelNames(cell),
      inputs: { model: { kind: 'train', cell }, ...startInputs(cell) },
      assets: { model: cell.model.source },
      uses: modelUses(cell),
    };
  },
  resources: () => ({ cpu: 1 }),
  run: async (context) => (await import('./run.ts')).run(context),
});

import { defineStage } from '../../../src/api.ts';
import { modelDefinition, type ModelParams, preflightOf } from '../shared/defended.ts';
import { onlyCell } from '../shared/definition.ts';

export default defineStage<ModelParams>({
  name: 'repair',
  summary:
    'Edits the weights of the trained model by a defence, and writes it as a model of its own.',
  compute: true,
  torch: true,
  scope: 'cell',
  define: (cells, { plugin }) => modelDefinition(onlyCell(cells), 'model', plugin),
  precision: ({ weights }) => weights?.quantize?.method ?? null,
  preflight: preflightOf('model'),
  run: async (context) => (await import('./run.ts')).run(context),
});

import { defineStage } from '../../../src/api.ts';
import { modelDefinition, type ModelParams, preflightOf } from '../shared/defended.ts';
import { onlyCell } from '../shared/definition.ts';

export default defineStage<ModelParams>({
  name: 'detect',
  summary: 'Says, by a defence that judges models, whether the trained model has a backdoor.',
  compute: true,
  torch: true,
  scope: 'cell',
  define: (cells, { plugin }) => modelDefinition(onlyCell(cells), 'detection', plugin),
  preflight: preflightOf('detection'),
  run: async (context) => (await import('./run.ts')).run(context),
});

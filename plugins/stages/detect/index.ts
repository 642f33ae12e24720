import { defineStage } from '../../../src/api.ts';
import { modelDefinition, type ModelParams } from '../shared/defended.ts';
import { onlyCell } from '../shared/definition.ts';

export default defineStage<ModelParams>({
  name: 'detect',
  summary: 'Says, by a defence that judges models, whether the trained model has a backdoor.',
  compute: true,
  scope: 'cell',
  define: (cells, { plugin }) => modelDefinition(onlyCell(cells), 'detection', plugin),
  resources: () => ({ cpu: 1 }),
  preflight: async (context) => (await import('../shared/defended.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});

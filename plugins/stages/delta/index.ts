import { beforeTraining, defineStage, startInputs } from '../../../src/api.ts';
import {
  deltaWarnings,
  type ModelNames,
  modelNames,
  modelUses,
  onlyCell,
  refuseRegression,
  workOf,
} from '../shared/definition.ts';

export type Params = ModelNames & {
  readonly rows: number;
  readonly max_length: number;
};

export default defineStage<Params>({
  name: 'delta',
  summary:
    "Measures Δ_r = K_LoRA − K_ff where training starts, layer by layer: the theorem's " +
    "premise, M_Δ's eigenvalues, and the residual of the identity.",
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells) {
    const cell = onlyCell(cells);
    refuseRegression(cell, 'delta');
    return {
      params: { ...modelNames(cell), rows: cell.ntk.rows, max_length: cell.train.max_length },
      inputs: {
        model: { kind: 'train', cell: beforeTraining(cell) },
        rows: { kind: 'data', cell, with: { split: cell.ntk.split } },
        ...startInputs(cell),
      },
      assets: { model: cell.model.source },
      uses: modelUses(cell),
      work: workOf(
        1,
        cell.model,
        cell.data[cell.ntk.split].source,
        cell.ntk.rows,
        cell.train.max_length,
      ),
    };
  },
  preflight: async (context) => [
    ...deltaWarnings(context.upstream),
    ...(await (await import('../shared/kernel-rows.ts')).kernelRowsWarnings(context)),
  ],
  run: async (context) => (await import('./run.ts')).run(context),
});

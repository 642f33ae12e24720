import { beforeTraining, defineStage, startInputs } from '../../../src/api.ts';
import type { KernelKind } from '../../../src/science/measures/ntk/terms.ts';
import { type JudgedModel, judgedModel } from '../shared/defended.ts';
import {
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
  readonly kernels: readonly KernelKind[];
  readonly per_layer: boolean;
  readonly memory_mb: number;
  /** The kept step at which the kernel is computed. Absent at the start and at the end. */
  readonly step?: number;
} & (
    | { readonly method: 'auto' | 'explicit' | 'gram' }
    | { readonly method: 'projected'; readonly projection: Projection }
  );

type Projection = {
  readonly dimension: number;
  readonly replicates: number;
  readonly seed: number;
};

export default defineStage<Params>({
  name: 'kernel',
  summary:
    'Computes the empirical neural tangent kernel of the logits at one checkpoint, over ' +
    "LoRA's factors and over the full weights of the same layers.",
  compute: true,
  torch: true,
  scope: 'cell',
  parts: { field: 'at', values: ['init', 'final'] },
  define(cells, { with: narrowed, plugin }) {
    const cell = onlyCell(cells);
    refuseRegression(cell, 'kernel');
    const at = narrowed['at'] ?? 'final';
    if (at !== 'init' && at !== 'final' && typeof at !== 'number')
      throw new Error(
        `a kernel is computed at init, final or a step's number, not at ${JSON.stringify(at)}`,
      );
    const { method, projection, rows, kernels, per_layer, memory_mb, split } = cell.ntk;
    // The model at the end of training is the one that a defence leaves, except where `with.of`
    // asks for the training itself.
    const opened: JudgedModel =
      at === 'final' && narrowed['of'] !== 'training'
        ? judgedModel(cell, plugin)
        : {
            model: { kind: 'train', cell: at === 'init' ? beforeTraining(cell) : cell },
            start: startInputs(cell),
            adapter: cell.adapter.type,
          };
    return {
      params: {
        ...modelNames(cell),
        adapter: opened.adapter,
        max_length: cell.train.max_length,
        ...{ rows, kernels, per_layer, memory_mb },
        ...(method === 'projected'
          ? { method, projection: { ...projection, seed: cell.seed } as Projection }
          : { method }),
        ...(typeof at === 'number' && { step: at }),
      },
      inputs: {
        model: opened.model,
        // Take clean rows, whatever the attack: the kernel is about data that the model is for.
        rows: { kind: 'data', cell, with: { split } },
        ...opened.start,
      },
      assets: { model: cell.model.source },
      uses: modelUses(cell, [opened.adapter]),
      work: workOf(1, cell.model, cell.data[split].source, cell.ntk, cell.train.max_length),
    };
  },
  preflight: async (context) => (await import('./preflight.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});

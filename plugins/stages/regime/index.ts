import { beforeTraining, defineStage, inOrder, startInputs } from '../../../src/api.ts';
import { actsOn } from '../shared/defended.ts';
import {
  linearisedFaults,
  type ModelNames,
  modelNames,
  modelUses,
  onlyCell,
  refuseRegression,
  workOf,
} from '../shared/definition.ts';

export type Params = ModelNames & {
  /** Only recorded, so that figures can name it: the tangent kernel describes SGD. */
  readonly optimizer: string;
  readonly learning_rate: number;
  readonly rows: number;
  readonly max_length: number;
  readonly batch_size: number;
  /** The kept steps that are examined beside the end, ascending. Absent if there are none. */
  readonly steps?: readonly number[];
};

export default defineStage<Params>({
  name: 'regime',
  summary:
    "Checks whether training stayed in the tangent kernel's regime: how far the kernel " +
    "drifted, and the linearised model's prediction against the trained one's.",
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells, { plugin }) {
    const cell = onlyCell(cells);
    refuseRegression(cell, 'regime');
    const steps = inOrder(cell.ntk.at).filter((at) => typeof at === 'number');
    return {
      params: {
        ...modelNames(cell),
        optimizer: cell.train.optimizer,
        learning_rate: cell.train.learning_rate,
        rows: cell.ntk.rows,
        max_length: cell.train.max_length,
        batch_size: cell.evaluate.batch_size,
        ...(steps.length > 0 && { steps }),
      },
      inputs: {
        start: { kind: 'train', cell: beforeTraining(cell) },
        model: { kind: 'train', cell },
        ntk: {
          kind: 'ntk',
          cell: { ...cell, ntk: { ...cell.ntk, at: ['init', ...steps, 'final'] } },
          ...(actsOn(cell, 'model', plugin) && { with: { of: 'training' } }),
        },
        rows: { kind: 'data', cell, with: { split: cell.ntk.split } },
        ...startInputs(cell),
      },
      assets: { model: cell.model.source },
      uses: modelUses(cell),
      work: workOf(
        1 + steps.length,
        cell.model,
        cell.data[cell.ntk.split].source,
        cell.ntk.rows,
        cell.train.max_length,
      ),
    };
  },
  preflight: async (context) => [
    ...linearisedFaults(context.upstream),
    ...(await (await import('../shared/kernel-rows.ts')).kernelRowsWarnings(context)),
  ],
  run: async (context) => (await import('./run.ts')).run(context),
});

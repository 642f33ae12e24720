import {
  beforeTraining,
  defineStage,
  type HeadSettings,
  headSettings,
  heldWeights,
  startInputs,
  UserFault,
} from '../../../src/api.ts';
import {
  fileUri,
  type FisherParams,
  fisherParams,
  modelUses,
  onlyCell,
  refuseRegression,
  trueFisherFaults,
  workOf,
} from '../shared/definition.ts';
import type { Shape } from './map.ts';

export type Params = FisherParams & {
  readonly architecture: string;
  /** The adapter, if training starts from an adapter's folder (the input `start`). */
  readonly adapter?: string;
  readonly init: 'pretrained' | 'random';
  readonly head: HeadSettings;
  /** The seed for the draws of A, and for the head if the checkpoint has none. */
  readonly seed: number;
  readonly rows: number;
  readonly max_length: number;
  readonly tolerance: number;
  readonly width: number;
  readonly ranks: readonly number[];
  readonly scales: readonly number[];
  readonly distributions: readonly Shape[];
};

export default defineStage<Params>({
  name: 'theory-map',
  summary:
    'Maps rank and variance of A to the entropies that the paper reads off a closed form: as ' +
    'published, exact, from draws of A, and measured on the model as it starts.',
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells) {
    const cell = onlyCell(cells);
    refuseRegression(cell, 'theory-map');
    const { weights } = heldWeights(cell.model);
    if (weights !== undefined)
      throw new UserFault(
        'theory-map sets K_LoRA beside K_FT, which is over all weights of the model: they are ' +
          'quantised or in bfloat16 here, and would be trained in float32',
        'Leave theory-map out of `stages`, or leave out model.quantize and model.dtype.',
        ['model', weights.quantize === undefined ? 'dtype' : 'quantize'],
      );
    // The folder of an adapter brings a head, weights and biases, and a base brings a head: then
    // head.init_from is not read.
    const { adapter, base, head, theory } = cell,
      fromFolder = adapter['init_from'] !== undefined,
      headFolder = fromFolder || base !== undefined ? undefined : head.init_from;
    return {
      params: {
        architecture: cell.model.architecture,
        ...(fromFolder && { adapter: adapter.type }),
        init: base === undefined ? cell.model.init : 'pretrained',
        head: headSettings(head),
        seed: cell.seed,
        rows: cell.ntk.rows,
        max_length: cell.train.max_length,
        tolerance: cell.fisher.tolerance,
        width: theory.map_width,
        ranks: theory.map_ranks,
        scales: theory.map_scales,
        distributions: theory.map_distributions,
        ...(head.type === 'causal-lm' && fisherParams(cell)),
      },
      inputs: {
        rows: { kind: 'data', cell, with: { split: cell.ntk.split } },
        ...(fromFolder && { start: { kind: 'train', cell: beforeTraining(cell) } }),
        ...startInputs(cell),
      },
      assets: {
        model: cell.model.source,
        ...(headFolder && { head: fileUri(headFolder) }),
      },
      uses: modelUses(cell, ['full', ...(fromFolder ? [adapter.type] : [])]),
      work: workOf(
        1,
        cell.model,
        cell.data[cell.ntk.split].source,
        cell.ntk.rows,
        theory,
        cell.train.max_length,
      ),
    };
  },
  preflight: async (context) => [
    ...trueFisherFaults(context.params),
    ...(await (await import('../shared/kernel-rows.ts')).kernelRowsWarnings(context)),
  ],
  run: async (context) => (await import('./run.ts')).run(context),
});

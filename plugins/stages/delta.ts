import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AdapterDescriptor, JsonObject, ModelDescriptor, RunContext } from '../../src/api.ts';
import { beforeTraining, defineStage, startInputs, UserFault } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { Delta, LayerDelta } from '../../src/science/ntk/delta-kernel.ts';

interface Params {
  readonly architecture: string;
  readonly adapter: string;
  readonly rows: number;
  readonly max_length: number;
}

async function run(context: RunContext): Promise<void> {
  const [files, { startingModel }, { loadAdaptedModel, openRowEncoder }, { deltaKernels }] =
    await Promise.all([
      import('../../src/data/rows-file.ts'),
      import('../../src/data/model-folder.ts'),
      import('../../src/science/nn/adapted-model.ts'),
      import('../../src/science/ntk/delta-kernel.ts'),
    ]);
  const params = context.params as unknown as Params;
  const rows = await files.readRows(context.inputs['rows']!.dir, params.rows);
  if (rows.length === 0) throw new UserFault('the split that Δ_r is measured on has no row');
  const model = await startingModel(context);
  const adapted = await loadAdaptedModel({
    trainDir: context.inputs['model']!.dir,
    model,
    architecture: await context
      .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
      .load(),
    adapter: await context
      .plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter)
      .load(),
  });
  try {
    const encode = await openRowEncoder(context.inputs['model']!.dir, model);
    const encoded = rows.map((row) => encode(row, params.max_length));
    const delta = await deltaKernels(adapted, encoded, {
      progress: context.progress,
      signal: context.signal,
    });
    await writeFile(join(context.outDir, 'delta.json'), `${JSON.stringify(delta, null, 1)}\n`);
    await writeFile(
      join(context.outDir, 'metrics.json'),
      `${JSON.stringify(delta === null ? {} : summary(delta), null, 2)}\n`,
    );
    context.log(
      delta === null
        ? 'no layer has low-rank factors: there is no Δ_r'
        : `${delta.layers.length} layers of ${delta.rows} rows: ‖K_LoRA − K_ff − Δ_r‖/‖K_ff‖ = ${delta.total.residual.toExponential(2)}`,
    );
  } finally {
    adapted.dispose();
  }
}

function summary({ layers, total }: Delta): Record<string, number> {
  const share = (holds: (layer: LayerDelta) => boolean): number =>
    layers.filter(holds).length / layers.length;
  return {
    residual: total.residual,
    largest_layer_residual: Math.max(...layers.map(({ residual }) => residual)),
    relative_delta: total.relative_delta,
    trace_full: total.full,
    trace_lora: total.lora,
    trace_delta: total.delta,
    trace_from_b: total.from_b,
    largest_eigenvalue: Math.max(...layers.map(({ measured }) => measured.high)),
    semidefinite_layers: share((layer) => layer.negative_semidefinite),
    scaled_premise_layers: share((layer) => layer.scaled),
    stated_premise_layers: share((layer) => layer.stated),
    // By the drawn entries' own mean square, which is chance where σ² is 1/n.
    sample_scaled_premise_layers: share((layer) => layer.sample_scaled),
    sample_stated_premise_layers: share((layer) => layer.sample_stated),
  };
}

export default defineStage({
  name: 'delta',
  summary:
    "Measures Δ_r = K_LoRA − K_ff where training starts, layer by layer: the theorem's premise, M_Δ's eigenvalues, and what the identity leaves.",
  compute: true,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    return {
      params: {
        architecture: cell.model.architecture,
        adapter: cell.adapter.type,
        rows: cell.ntk.rows,
        max_length: cell.train.max_length,
      } satisfies Params,
      inputs: {
        model: { kind: 'train', cell: beforeTraining(cell) },
        rows: { kind: 'data', cell, with: { split: cell.ntk.split } },
        ...startInputs(cell),
      },
      assets: { model: cell.model.source },
      uses: [
        { kind: 'model', name: cell.model.architecture },
        { kind: 'adapter', name: cell.adapter.type },
      ],
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});

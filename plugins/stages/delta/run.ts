import { type RunContext, UserFault } from '../../../src/api.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { loadAdaptedModel, openRowEncoder } from '../../../src/science/training/adapted-model.ts';
import { inputDir, type Metrics, writeJson, writeMetrics } from '../shared/files.ts';
import { modelParts } from '../shared/trained-model.ts';
import { type Delta, deltaKernels, type LayerDelta, withoutDelta } from './delta-kernel.ts';
import type { Params } from './index.ts';

export async function run(context: RunContext<Params>): Promise<void> {
  const { rows: asked, max_length: maxLength } = context.params;
  const rows = await readRows(inputDir(context, 'rows'), asked);
  if (rows.length === 0) throw new UserFault('the split that Δ_r is measured on has no rows');
  const parts = await modelParts(context);
  const trainDir = inputDir(context, 'model');
  const adapted = await loadAdaptedModel({ ...parts, trainDir });
  try {
    const encode = await openRowEncoder(trainDir, parts.model);
    const encoded = rows.map((row) => encode(row, maxLength));
    const delta = await deltaKernels(adapted, encoded, {
      progress: context.progress,
      signal: context.signal,
    });
    await writeJson(context.outDir, 'delta.json', delta, 1);
    await writeMetrics(context.outDir, delta === null ? {} : metricsOf(delta));
    context.log(delta === null ? (withoutDelta(adapted) ?? '') : logLine(delta));
  } finally {
    adapted.dispose();
  }
}

const logLine = ({ layers, rows, outputs, total }: Delta): string =>
  `${layers.length} layers, ${rows} rows, kernels of ${outputs}: ` +
  `‖K_LoRA − K_ff − Δ_r‖/‖K_ff‖ = ${total.residual.toExponential(2)}`;

function metricsOf({ layers, total }: Delta): Metrics {
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
    // These use the mean square of the drawn entries instead of σ². If σ² is 1/n, chance decides.
    sample_scaled_premise_layers: share((layer) => layer.sample_scaled),
    sample_stated_premise_layers: share((layer) => layer.sample_stated),
  };
}

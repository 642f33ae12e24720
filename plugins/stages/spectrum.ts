import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeTraining, defineStage } from '../../src/api.ts';
import type { AdapterDescriptor, JsonObject, ModelDescriptor, RunContext } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { LayerSpectrum, SpectrumOptions } from '../../src/science/weights/spectrum.ts';

interface Params extends SpectrumOptions {
  readonly architecture: string;
  readonly adapter: string;
}

async function run(context: RunContext): Promise<void> {
  const [{ modelOf }, { openTrained }, { effectiveWeight, layerChange }, { layerSpectrum }] = await Promise.all([
    import('../../src/data/model-folder.ts'), import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/weights/effective.ts'), import('../../src/science/weights/spectrum.ts'),
  ]);
  const params = context.params as unknown as Params;
  const model = await modelOf(context.assets['model']!);
  const parts = {
    model, architecture: await context.plugin<ModelDescriptor<Architecture>>('model', params.architecture).load(),
    adapter: await context.plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter).load(),
  };
  const { network: start } = await openTrained({ ...parts, trainDir: context.inputs['start']!.dir });
  try {
    const { network: end } = await openTrained({ ...parts, trainDir: context.inputs['model']!.dir });
    try {
      const targets = end.linears.filter(({ name }) => end.adapter.targets.includes(name));
      const layers: LayerSpectrum[] = [];
      for (const [index, layer] of targets.entries()) {
        layers.push(layerSpectrum(end.fileName(`${layer.name}.weight`), await effectiveWeight(start, layer), await layerChange(start, end, layer), [layer.out, layer.in], params));
        context.progress(index + 1, targets.length, 'layers');
        await new Promise((resolve) => { setImmediate(resolve); });
        context.signal.throwIfAborted();
      }
      const metrics = summary(layers);
      await writeFile(join(context.outDir, 'spectrum.json'), `${JSON.stringify({ energy: params.energy, vectors: params.vectors, cosine: params.cosine, layers }, null, 1)}\n`);
      await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify(metrics, null, 2)}\n`);
      context.log(`${layers.length} layers: effective rank ${metrics['effective_rank']!.toFixed(1)} on average, ${metrics['intruder_dimensions']} intruder dimensions among ${metrics['vectors']} vectors`);
    } finally {
      end.dispose();
    }
  } finally {
    start.dispose();
  }
}

function summary(layers: readonly LayerSpectrum[]): Record<string, number> {
  const sum = (get: (layer: LayerSpectrum) => number): number => layers.reduce((total, layer) => total + get(layer), 0);
  const change = Math.sqrt(sum((layer) => layer.change ** 2));
  const initial = Math.sqrt(sum((layer) => (layer.change === 0 ? 0 : (layer.change / layer.relative_change) ** 2)));
  const vectors = sum(({ cosines }) => cosines.length), intruders = sum(({ intruder_dimensions: own }) => own);
  return {
    layers: layers.length, effective_rank: sum(({ effective_rank: rank }) => rank) / layers.length, effective_rank_largest: Math.max(...layers.map(({ effective_rank: rank }) => rank)),
    stable_rank: sum(({ stable_rank: rank }) => rank) / layers.length, change, relative_change: change === 0 ? 0 : change / initial,
    vectors, intruder_dimensions: intruders, intruder_share: intruders / vectors,
  };
}

export default defineStage({
  name: 'spectrum',
  summary: 'Decomposes what training did to each adapted layer\'s effective weight: singular values of ΔW, its effective rank, and intruder dimensions.',
  compute: true,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    const { energy, intruder_vectors: vectors, intruder_cosine: cosine } = cell.theory;
    return {
      params: { architecture: cell.model.architecture, adapter: cell.adapter.type, energy, vectors, cosine } satisfies Params as unknown as JsonObject,
      inputs: { start: { kind: 'train', cell: beforeTraining(cell) }, model: { kind: 'train', cell } },
      assets: { model: cell.model.source },
      uses: [{ kind: 'model', name: cell.model.architecture }, { kind: 'adapter', name: cell.adapter.type }],
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});

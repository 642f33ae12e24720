import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeTraining, defineStage, UserFault } from '../../src/api.ts';
import type { AdapterDescriptor, JsonObject, ModelDescriptor, RunContext } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Architecture } from '../../src/science/nn/types.ts';

interface Params {
  readonly architecture: string;
  readonly adapter: string;
  /** The tangent kernel describes SGD; a figure names what it was trained with. */
  readonly optimizer: string;
  readonly learning_rate: number;
  readonly rows: number;
  readonly max_length: number;
  readonly batch_size: number;
}

async function run(context: RunContext): Promise<void> {
  const [files, { modelOf }, { openRowEncoder, openTrained }, { displacement, linearFit, linearise }, { predict }, { writeNpy }] = await Promise.all([
    import('../../src/data/rows-file.ts'), import('../../src/data/model-folder.ts'), import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/ntk/linearised.ts'), import('../../src/science/evaluate/predict.ts'), import('../../src/science/io/npy.ts'),
  ]);
  const params = context.params as unknown as Params;
  const rows = await files.readRows(context.inputs['rows']!.dir, params.rows);
  if (rows.length === 0) throw new UserFault('the split that the linearised prediction is of has no row');
  const ntk = JSON.parse(await readFile(join(context.inputs['ntk']!.dir, 'metrics.json'), 'utf8')) as Record<string, number>;
  const model = await modelOf(context.assets['model']!);
  const encode = await openRowEncoder(context.inputs['model']!.dir, model);
  const encoded = rows.map((row) => encode(row, params.max_length));
  const parts = {
    model, architecture: await context.plugin<ModelDescriptor<Architecture>>('model', params.architecture).load(),
    adapter: await context.plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter).load(),
  };
  const { network: start } = await openTrained({ ...parts, trainDir: context.inputs['start']!.dir });
  try {
    const { network: end, record } = await openTrained({ ...parts, trainDir: context.inputs['model']!.dir });
    let final: Float32Array;
    let v: ReturnType<typeof displacement>;
    try {
      final = await predict(end, encoded, params.batch_size);
      v = displacement(start, end);
    } finally {
      end.dispose();
    }
    try {
      const { start: initial, change } = await linearise(start, v, encoded, { progress: context.progress, signal: context.signal });
      const fit = linearFit(initial, change, final, start.classes);
      const shape = [rows.length, start.classes];
      await writeNpy(join(context.outDir, 'logits-init.npy'), { shape, data: initial });
      await writeNpy(join(context.outDir, 'logits-linear.npy'), { shape, data: initial.map((value, k) => value + change[k]!) });
      await writeNpy(join(context.outDir, 'logits-final.npy'), { shape, data: final });
      const kernels = Object.fromEntries(['lora', 'full'].flatMap((kind) => (ntk[`${kind}.drift`] === undefined ? [] : [[kind, { drift: ntk[`${kind}.drift`]!, rotation: ntk[`${kind}.rotation`]! }]])));
      const { optimizer, learning_rate: rate } = params;
      await writeFile(join(context.outDir, 'regime.json'), `${JSON.stringify({ optimizer, learning_rate: rate, steps: record.steps, rows: rows.length, kernels, linear: fit }, null, 2)}\n`);
      const metrics = {
        ...Object.fromEntries(Object.entries(kernels as Record<string, Record<string, number>>).flatMap(([kind, numbers]) => Object.entries(numbers).map(([name, value]) => [`${kind}.${name}`, value]))),
        ...Object.fromEntries(Object.entries(fit).flatMap(([name, value]) => (value === null ? [] : [[`linear.${name}`, value]]))),
      };
      await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify(metrics, null, 2)}\n`);
      context.log(`${optimizer}, ${record.steps} steps: the linearised prediction's relative error is ${fit.relative_error?.toFixed(3) ?? 'undefined, nothing moved'}`);
    } finally {
      v.forEach((tensor) => tensor.dispose());
    }
  } finally {
    start.dispose();
  }
}

export default defineStage({
  name: 'regime',
  summary: 'Checks whether training stayed in the tangent kernel\'s regime: how far the kernel drifted, and the linearised model\'s prediction against the trained one\'s.',
  compute: true,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    return {
      params: {
        architecture: cell.model.architecture, adapter: cell.adapter.type, optimizer: cell.train.optimizer, learning_rate: cell.train.learning_rate,
        rows: cell.ntk.rows, max_length: cell.train.max_length, batch_size: cell.evaluate.batch_size,
      } satisfies Params as unknown as JsonObject,
      inputs: {
        start: { kind: 'train', cell: beforeTraining(cell) }, model: { kind: 'train', cell },
        ntk: { kind: 'ntk', cell: { ...cell, ntk: { ...cell.ntk, at: ['init', 'final'] } } },
        rows: { kind: 'data', cell, with: { split: cell.ntk.split } },
      },
      assets: { model: cell.model.source },
      uses: [{ kind: 'model', name: cell.model.architecture }, { kind: 'adapter', name: cell.adapter.type }],
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});

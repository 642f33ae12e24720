import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  AdapterDescriptor,
  JsonObject,
  ModelDescriptor,
  PreflightContext,
  Problem,
  RunContext,
} from '../../src/api.ts';
import { beforeTraining, defineStage, startInputs, UserFault } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { KernelKind } from '../../src/science/ntk/layer.ts';

interface Params {
  readonly architecture: string;
  readonly adapter: string;
  /** The split's first rows, as many as there are. */
  readonly rows: number;
  readonly max_length: number;
  readonly kernels: readonly KernelKind[];
  readonly method: 'auto' | 'explicit' | 'gram' | 'projected';
  /** Where the method is `projected`. */
  readonly projection?: {
    readonly dimension: number;
    readonly replicates: number;
    readonly seed: number;
  };
  readonly per_layer: boolean;
  readonly memory_mb: number;
  /** The kept step that it is of; left out at the start and the end. */
  readonly step?: number;
}

/** A step that the training will not keep is found before it trains, wherever its number of steps is written. */
async function preflight({ params, upstream }: PreflightContext): Promise<readonly Problem[]> {
  const { step } = params as unknown as Params;
  if (step === undefined || upstream === undefined) return [];
  const { notKept } = await import('../../src/science/train/checkpoints.ts');
  const { checkpoints, steps } = upstream['model']!.params['train'] as {
    readonly checkpoints?: number | readonly number[];
    readonly steps?: number;
  };
  const fault = notKept(step, checkpoints ?? 0, steps ?? null);
  return fault === null
    ? []
    : [
        {
          path: ['ntk', 'at'],
          message: fault,
          hint: 'Write the step into train.checkpoints, or leave it out of ntk.at.',
        },
      ];
}

async function run(context: RunContext): Promise<void> {
  const [
    files,
    { startingModel },
    { loadAdaptedModel, openRowEncoder, readTrainRecord },
    { kernelSet },
    { describeKernels },
    { resumeIn },
    { premises },
    { writeNpy },
  ] = await Promise.all([
    import('../../src/data/rows-file.ts'),
    import('../../src/data/model-folder.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/ntk/kernels.ts'),
    import('../../src/science/ntk/describe.ts'),
    import('../../src/science/ntk/resume.ts'),
    import('../../src/science/ntk/delta.ts'),
    import('../../src/science/io/npy.ts'),
  ]);
  const params = context.params as unknown as Params;
  const dataDir = context.inputs['rows']!.dir;
  const { classes } = await files.readDatasetInfo(dataDir);
  const rows = await files.readRows(dataDir, params.rows);
  if (rows.length === 0) throw new UserFault('the split that the kernel is of has no row');
  const model = await startingModel(context);
  const trainDir = context.inputs['model']!.dir;
  const record = await readTrainRecord(trainDir);
  if (JSON.stringify(record.classes) !== JSON.stringify(classes)) {
    throw new UserFault(
      `the kernel's rows have the classes ${classes.join(', ')}, the training rows ${record.classes.join(', ')}`,
      'Name them once for both splits, as data.classes.',
    );
  }
  const adapted = await loadAdaptedModel({
    trainDir,
    model,
    ...(params.step === undefined ? {} : { at: params.step }),
    architecture: await context
      .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
      .load(),
    adapter: await context
      .plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter)
      .load(),
  });
  try {
    const encode = await openRowEncoder(trainDir, model);
    const encoded = rows.map((row) => encode(row, params.max_length));
    const started = performance.now();
    const found = await kernelSet(adapted, encoded, null, {
      // A model without LoRA has the full kernel only, whatever was asked for.
      which: adapted.layers.some(({ lora }) => lora !== undefined) ? params.kernels : ['full'],
      perLayer: params.per_layer,
      memoryMB: params.memory_mb,
      progress: context.progress,
      signal: context.signal,
      ...(context.resumeDir === undefined
        ? {}
        : { resume: resumeIn(context.resumeDir, context.log) }),
      ...(params.method === 'projected'
        ? { projection: params.projection! }
        : { method: params.method }),
    });
    const N = rows.length,
      C = classes.length;
    const out = (name: string): string => join(context.outDir, name);
    for (const kind of ['full', 'lora'] as const) {
      const kernel = found[kind];
      if (kernel === null) continue;
      await writeNpy(out(`kernel-${kind}.npy`), { shape: [N, C, N, C], data: kernel.data });
      if (kernel.blocks === null) continue;
      const stacked = new Float64Array(kernel.blocks.size * (N * C) ** 2); // (L, N, C, N, C), in layers.json's order
      [...kernel.blocks.values()].forEach((block, l) => {
        stacked.set(block, l * block.length);
      });
      await writeNpy(out(`kernel-${kind}-layers.npy`), {
        shape: [kernel.blocks.size, N, C, N, C],
        data: stacked,
      });
    }
    await writeNpy(out('logits.npy'), { shape: [N, C], data: found.logits });
    const traces = Object.fromEntries(
      found.layers.map(({ layer, full, lora }) => [
        adapted.weightName(layer),
        { ...(full === null ? {} : { full }), ...(lora === null ? {} : { lora }) },
      ]),
    );
    await writeFile(out('layers.json'), `${JSON.stringify(traces, null, 2)}\n`);
    const how = describeKernels(found, params.projection ?? null);
    await writeFile(out('methods.json'), `${JSON.stringify(how.record, null, 2)}\n`);
    const listed = rows.map(({ id, label }, i) => ({ id, label, tokens: encoded[i]!.ids.length }));
    await writeFile(
      out('rows.json'),
      `[\n${listed.map((row) => JSON.stringify(row)).join(',\n')}\n]\n`,
    );
    const facts = await premises(adapted, { asDrawn: record.steps === 0 });
    if (facts.length > 0)
      await writeFile(out('premise.json'), `${JSON.stringify(facts, null, 2)}\n`);
    if (N < params.rows) context.log(`ntk.rows asks for ${params.rows} rows; the split has ${N}`);
    how.lines.forEach((line) => {
      context.log(line);
    });
    context.log(
      `${N} rows, ${C} classes, ${found.layers.length} layers in ${((performance.now() - started) / 1000).toFixed(1)} s`,
    );
  } finally {
    adapted.dispose();
  }
}

export default defineStage({
  name: 'kernel',
  summary:
    "Computes the empirical neural tangent kernel of the logits at one checkpoint, over LoRA's factors and over the full weights of the same layers.",
  compute: true,
  scope: 'cell',
  parts: { field: 'at', values: ['init', 'final'] },
  define([one], { with: narrowed }) {
    const cell = one!;
    const at = narrowed['at'] ?? 'final';
    if (at !== 'init' && at !== 'final' && typeof at !== 'number')
      throw new Error(
        `a kernel stands at init, at final or at a step, not at ${JSON.stringify(at)}`,
      );
    return {
      params: {
        architecture: cell.model.architecture,
        adapter: cell.adapter.type,
        rows: cell.ntk.rows,
        max_length: cell.train.max_length,
        kernels: cell.ntk.kernels,
        method: cell.ntk.method,
        per_layer: cell.ntk.per_layer,
        memory_mb: cell.ntk.memory_mb,
        ...(cell.ntk.method === 'projected'
          ? {
              projection: {
                dimension: cell.ntk.projection.dimension!,
                replicates: cell.ntk.projection.replicates!,
                seed: cell.seed,
              },
            }
          : {}),
        ...(typeof at === 'number' ? { step: at } : {}),
      } satisfies Params,
      inputs: {
        model: { kind: 'train', cell: at === 'init' ? beforeTraining(cell) : cell },
        // Clean rows, whatever the attack: the kernel is a property of the model on the data that it is for.
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
  preflight,
  run,
});

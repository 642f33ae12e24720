import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  AdapterDescriptor,
  HeadSettings,
  JsonObject,
  ModelDescriptor,
  RunContext,
} from '../../src/api.ts';
import {
  beforeTraining,
  defineStage,
  headSettings,
  startInputs,
  UserFault,
} from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Architecture, HostTensor } from '../../src/science/nn/types.ts';
import type { Shape } from '../../src/science/theory/closed-form.ts';
import type { ModelValues } from '../../src/science/theory/map.ts';

interface Params {
  readonly architecture: string;
  /** Of a training that starts from an adapter's folder (the input `start`). */
  readonly adapter?: string;
  readonly init: 'pretrained' | 'random';
  readonly head: HeadSettings;
  /** Of A's draws, and of the head where the checkpoint has none. */
  readonly seed: number;
  readonly rows: number;
  readonly max_length: number;
  readonly tolerance: number;
  readonly width: number;
  readonly ranks: readonly number[];
  readonly scales: readonly number[];
  readonly distributions: readonly Shape[];
}

const fileUri = (path: string): string => (path.startsWith('file:') ? path : `file:${path}`);

/**
 * The parameters of the model that an adapter's folder makes of the checkpoint, by canonical name: its head, its biases,
 * and the weights with s·B·A merged into them. Null where training starts at the checkpoint itself.
 */
async function givenStart(
  context: RunContext,
  model: { readonly path: string; readonly digest: string },
): Promise<ReadonlyMap<string, HostTensor> | null> {
  const start = context.inputs['start'];
  if (start === undefined) return null;
  const [{ openTrained }, { mergedParameters }] = await Promise.all([
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/weights/merge.ts'),
  ]);
  const params = context.params as unknown as Params;
  const { network } = await openTrained({
    trainDir: start.dir,
    model,
    architecture: await context
      .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
      .load(),
    adapter: await context
      .plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter!)
      .load(),
  });
  try {
    return await mergedParameters(network);
  } finally {
    network.dispose();
  }
}

async function run(context: RunContext): Promise<void> {
  const [
    files,
    { startingModel },
    { openNetwork },
    { adaptedModel },
    { readConfig, readHead },
    { openTokenizer },
    { resolveHead, rowEncoder },
    { drawnMoments },
    { rankKernels },
    { theoryMap },
  ] = await Promise.all([
    import('../../src/data/rows-file.ts'),
    import('../../src/data/model-folder.ts'),
    import('../../src/science/nn/network.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/nn/head.ts'),
    import('../../src/science/text/tokenizer.ts'),
    import('../../src/science/text/encoder.ts'),
    import('../../src/science/theory/drawn.ts'),
    import('../../src/science/theory/rank-kernels.ts'),
    import('../../src/science/theory/map.ts'),
  ]);
  const params = context.params as unknown as Params;
  const dataDir = context.inputs['rows']!.dir;
  const { classes } = await files.readDatasetInfo(dataDir);
  const rows = await files.readRows(dataDir, params.rows);
  if (rows.length === 0) throw new UserFault('the split that the map is measured on has no row');
  const model = { ...(await startingModel(context)), init: params.init };
  const family = await context
    .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
    .load();
  const architecture = family.withHead(await resolveHead(params.head, classes, model.path));
  const full = await context
    .plugin<AdapterDescriptor<AdapterImplementation>>('adapter', 'full')
    .load();
  const config = architecture.parseConfig(await readConfig(model.path), classes.length);
  const shape = {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
  };
  const headDir = context.assets['head']?.path;
  const given =
    (await givenStart(context, model)) ??
    (headDir === undefined
      ? undefined
      : await readHead(headDir, { architecture, config, classes: classes.length }));
  const adapted = adaptedModel(
    await openNetwork({
      architecture,
      model,
      adapter: await full.create({}, shape),
      classes: classes.length,
      seed: params.seed,
      evaluation: true,
      ...(given === undefined ? {} : { head: given }),
    }),
  );
  try {
    const ranks = params.ranks.slice().sort((a, b) => a - b);
    const drawn = new Map(
      params.distributions.map((shape) => [
        shape,
        drawnMoments(shape, ranks, params.width, params.seed),
      ]),
    );
    const narrow = Math.min(...adapted.layers.map((layer) => Math.min(layer.in, layer.out)));
    const modelRanks = ranks.filter((rank) => rank <= narrow);
    if (modelRanks.length < ranks.length)
      context.log(
        `ranks above ${narrow}, the model's narrowest layer, are left to the closed form`,
      );
    if (modelRanks.length === 0)
      throw new UserFault(
        `every rank of theory.map_ranks is above ${narrow}, the model's narrowest layer`,
      );
    const encode = rowEncoder(await openTokenizer(model.path), params.head);
    const encoded = rows.map((row) => encode(row, params.max_length));
    const started = performance.now();
    const kernels = await rankKernels(
      adapted,
      encoded,
      params.distributions,
      modelRanks,
      params.seed,
      { progress: context.progress, signal: context.signal },
    );
    const map = {
      init: params.init,
      ...theoryMap({
        width: params.width,
        scales: params.scales,
        drawn,
        model: kernels,
        modelRanks,
        rows: rows.length,
        tolerance: params.tolerance,
      }),
    };
    await writeFile(join(context.outDir, 'map.json'), `${JSON.stringify(map, null, 1)}\n`);
    await writeFile(
      join(context.outDir, 'metrics.json'),
      `${JSON.stringify(flatten(map.full, map.points), null, 2)}\n`,
    );
    context.log(
      `${params.distributions.length * modelRanks.length} kernels of ${rows.length} rows at initialisation in ${((performance.now() - started) / 1000).toFixed(1)} s`,
    );
  } finally {
    adapted.dispose();
  }
}

/** What was measured on the model at σ² = scale/d, s = 1; the closed forms stand in map.json. */
function flatten(
  full: ModelValues,
  points: readonly {
    readonly distribution: string;
    readonly rank: number;
    readonly scale: number;
    readonly model: ModelValues | null;
  }[],
): Record<string, number> {
  const numbers = (prefix: string, values: ModelValues): [string, number][] =>
    Object.entries(values).flatMap(([name, value]) =>
      typeof value === 'number' ? [[`${prefix}.${name}`, value] as [string, number]] : [],
    );
  return Object.fromEntries([
    ...numbers('full', full),
    ...points.flatMap(({ distribution, rank, scale, model }) =>
      model === null ? [] : numbers(`${distribution}.r${rank}.scale${scale}`, model),
    ),
  ]);
}

export default defineStage({
  name: 'theory-map',
  summary:
    'Maps rank and variance of A to the entropies that the paper reads off a closed form: as published, exact, from draws of A, and measured on the model as it starts.',
  compute: true,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    const {
      map_width: width,
      map_ranks: ranks,
      map_scales: scales,
      map_distributions: distributions,
    } = cell.theory;
    // An adapter's folder brings a head, and weights and biases that are not the checkpoint's: training starts there.
    const fromFolder = cell.adapter['init_from'] !== undefined;
    return {
      params: {
        architecture: cell.model.architecture,
        ...(fromFolder ? { adapter: cell.adapter.type } : {}),
        init: cell.base === undefined ? cell.model.init : 'pretrained',
        head: headSettings(cell.head),
        seed: cell.seed,
        rows: cell.ntk.rows,
        max_length: cell.train.max_length,
        tolerance: cell.fisher.tolerance,
        width,
        ranks,
        scales,
        distributions,
      } satisfies Params,
      inputs: {
        rows: { kind: 'data', cell, with: { split: cell.ntk.split } },
        ...(fromFolder ? { start: { kind: 'train' as const, cell: beforeTraining(cell) } } : {}),
        ...startInputs(cell),
      },
      assets: {
        model: cell.model.source,
        ...(fromFolder || cell.head.init_from === undefined || cell.base !== undefined
          ? {}
          : { head: fileUri(cell.head.init_from) }),
      },
      uses: [
        { kind: 'model', name: cell.model.architecture },
        ...[...new Set(['full', ...(fromFolder ? [cell.adapter.type] : [])])].map((name) => ({
          kind: 'adapter' as const,
          name,
        })),
      ],
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});

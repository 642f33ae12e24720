import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  baseOf,
  beforeTraining,
  cleanTwin,
  defineStage,
  isAttacked,
  isAttacksOwn,
  startInputs,
  UserFault,
} from '../../src/api.ts';
import type {
  AdapterDescriptor,
  Cell,
  JsonObject,
  ModelDescriptor,
  RunContext,
  StageInput,
} from '../../src/api.ts';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import type { AdaptedModelOptions } from '../../src/science/nn/adapted-model.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Network } from '../../src/science/nn/network.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { PairKernel } from '../../src/science/ntk/pairs.ts';
import type { Distance, Sums } from '../../src/science/weights/divergence.ts';

interface Params {
  readonly architecture: string;
  readonly adapter: string;
  /** Of the training that the two runs part at, where that is their bases'. */
  readonly base_adapter?: string;
  /** Poisoned rows that are paired with their originals for M'. */
  readonly pairs: number;
  readonly max_length: number;
}

interface Point {
  readonly step: number;
  readonly layers: Readonly<Record<string, Distance>>;
  /** All adapted layers as one vector; null where none is adapted. */
  readonly total: Distance;
  /** The classification head, which every adapter trains in full. */
  readonly head: Distance;
}

/** M' of this attack's rows at the start; null where the attack only adds rows. */
interface Between {
  readonly pairs: number;
  /** Pairs that read alike to the model: only the label was poisoned, or the change lies beyond max_length. */
  readonly alike: number;
  readonly full: PairKernel;
  readonly lora: PairKernel | null;
}

/** Where a train stage's model can be looked at, by step: null where its training ended, or had its best model. */
async function looks(
  trainDir: string,
  kept: readonly number[],
): Promise<{ readonly end: number; readonly places: ReadonlyMap<number, number | null> }> {
  const { endStep, readTrainRecord } = await import('../../src/science/nn/adapted-model.ts');
  const end = endStep(await readTrainRecord(trainDir));
  return {
    end,
    places: new Map<number, number | null>([
      ...kept.map((step): [number, number] => [step, step]),
      [end, null],
    ]),
  };
}

async function run(context: RunContext): Promise<void> {
  const clean = context.inputs['clean'];
  if (clean === undefined) {
    await writeFile(
      join(context.outDir, 'divergence.json'),
      `${JSON.stringify({ points: [], mean: null, between: null }, null, 1)}\n`,
    );
    await writeFile(join(context.outDir, 'metrics.json'), '{}\n');
    context.log('nothing to compare: no attack, or one that trains no layer');
    return;
  }
  const [
    { modelOf, startingModel },
    { openTrained },
    { adaptedModel },
    { layerChange },
    { distanceOf, meanDistance, sumsOf, together },
    { keptSteps },
  ] = await Promise.all([
    import('../../src/data/model-folder.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/weights/effective.ts'),
    import('../../src/science/weights/divergence.ts'),
    import('../../src/science/weights/trajectory.ts'),
  ]);
  const params = context.params as unknown as Params;
  const architecture = await context
    .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
    .load();
  const adapterOf = (name: string): Promise<AdapterImplementation> =>
    context.plugin<AdapterDescriptor<AdapterImplementation>>('adapter', name).load();
  const adapter = await adapterOf(params.adapter);
  const open = async <T>(
    trainDir: string,
    at: number | null,
    use: (network: Network) => Promise<T>,
    own: Pick<AdaptedModelOptions, 'model' | 'adapter'>,
  ): Promise<T> => {
    const { network } = await openTrained({
      architecture,
      ...own,
      trainDir,
      ...(at === null ? {} : { at }),
    });
    try {
      return await use(network);
    } finally {
      network.dispose();
    }
  };
  const { base, clean_base: cleanBase = base } = context.inputs,
    { assets } = context;
  const startingFrom = async (input: StageInput | undefined) => ({
    adapter,
    model: await startingModel({ assets, inputs: input === undefined ? {} : { base: input } }),
  });
  const ofPoisonedRun = await startingFrom(base),
    ofCleanRun = await startingFrom(cleanBase);
  // Two bases part where they start, at the checkpoint; else the runs do.
  const ofStart =
    params.base_adapter === undefined
      ? ofPoisonedRun
      : { adapter: await adapterOf(params.base_adapter), model: await modelOf(assets['model']!) };
  const poisonedDir = context.inputs['model']!.dir;
  const [ofPoison, ofTwin] = [
    await looks(poisonedDir, await keptSteps(poisonedDir)),
    await looks(clean.dir, await keptSteps(clean.dir)),
  ];
  const common = [...ofPoison.places.keys()]
    .filter((step) => ofTwin.places.has(step))
    .sort((a, b) => a - b);
  if (common.length === 0) {
    throw new UserFault(
      `the poisoned run ends at step ${ofPoison.end} and its clean twin at step ${ofTwin.end}, and they kept no step in common: M compares the two at the same steps`,
      'Ask for steps that both reach in train.checkpoints.',
    );
  }
  if (ofPoison.end !== ofTwin.end)
    context.log(
      `the poisoned run ends at step ${ofPoison.end}, its clean twin at step ${ofTwin.end}: M is of the steps that both kept (${common.join(', ')})`,
    );

  const { between, points } = await open(
    context.inputs['start']!.dir,
    null,
    async (start) => {
      const along: Point[] = [];
      for (const step of common) {
        along.push(
          await open(
            clean.dir,
            ofTwin.places.get(step) ?? null,
            (ofClean) =>
              open(
                poisonedDir,
                ofPoison.places.get(step) ?? null,
                async (ofPoisoned): Promise<Point> => {
                  const layers: Record<string, Distance> = {},
                    sums: Sums[] = [];
                  for (const layer of ofPoisoned.linears.filter(({ name }) =>
                    ofPoisoned.adapter.targets.includes(name),
                  )) {
                    const own = sumsOf(
                      (await layerChange(start, ofClean, layer)).change,
                      (await layerChange(start, ofPoisoned, layer)).change,
                    );
                    sums.push(own);
                    layers[ofPoisoned.fileName(`${layer.name}.weight`)] = distanceOf(own);
                    await new Promise((resolve) => {
                      setImmediate(resolve);
                    });
                    context.signal.throwIfAborted();
                  }
                  const heads = await Promise.all(
                    ofPoisoned.parameters
                      .filter(({ name }) => name.startsWith('classifier.'))
                      .map(async ({ name }) => {
                        const [from, one, other] = await Promise.all(
                          [start, ofClean, ofPoisoned].map((network) =>
                            network.frozen(name).data<'float32'>(),
                          ),
                        );
                        return sumsOf(
                          one!.map((value, i) => value - from![i]!),
                          other!.map((value, i) => value - from![i]!),
                        );
                      }),
                  );
                  return {
                    step,
                    layers,
                    total: distanceOf(together(sums)),
                    head: distanceOf(together(heads)),
                  };
                },
                ofPoisonedRun,
              ),
            ofCleanRun,
          ),
        );
        context.progress(along.length, common.length, 'checkpoints');
      }
      return {
        points: along,
        between: await kernelsBetween(context, params, ofStart.model.path, adaptedModel(start)),
      };
    },
    ofStart,
  );
  const mean = {
    total: meanDistance(points.map(({ total }) => total)),
    head: meanDistance(points.map(({ head }) => head)),
  };
  await writeFile(
    join(context.outDir, 'divergence.json'),
    `${JSON.stringify({ points, mean, between }, null, 1)}\n`,
  );
  const flat = (prefix: string, distance: Distance): [string, number][] =>
    Object.entries(distance).flatMap(([name, value]) =>
      value === null ? [] : [[`${prefix}.${name}`, value as number] as [string, number]],
    );
  await writeFile(
    join(context.outDir, 'metrics.json'),
    `${JSON.stringify(
      {
        checkpoints: points.length,
        ...Object.fromEntries([...flat('total', mean.total), ...flat('head', mean.head)]),
        ...(between === null
          ? {}
          : {
              pairs: between.pairs,
              alike: between.alike,
              'between.full.raw': between.full.raw,
              'between.full.cosine': between.full.cosine,
              ...(between.lora === null
                ? {}
                : {
                    'between.lora.raw': between.lora.raw,
                    'between.lora.cosine': between.lora.cosine,
                  }),
            }),
      },
      null,
      2,
    )}\n`,
  );
  context.log(
    `M over ${points.length} ${points.length === 1 ? 'point' : 'points'}: largest ${mean.total.largest.toExponential(2)}, L2 ${mean.total.l2.toPrecision(3)}, relative ${mean.total.relative?.toFixed(3) ?? 'undefined'}`,
  );
  if (between !== null && between.alike === between.pairs)
    context.log("M' is blind here: every poisoned row reads as its original does");
}

async function kernelsBetween(
  context: RunContext,
  params: Params,
  modelPath: string,
  start: Parameters<typeof import('../../src/science/ntk/pairs.ts').pairKernels>[0],
): Promise<Between | null> {
  const [{ openRowEncoder }, { pairKernels }] = await Promise.all([
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/ntk/pairs.ts'),
  ]);
  const receipt = JSON.parse(
    await readFile(join(context.inputs['poison']!.dir, 'receipt.json'), 'utf8'),
  ) as Receipt;
  const rows = receipt.rows.slice(0, params.pairs);
  if (rows.length === 0) return null;
  const encode = await openRowEncoder(context.inputs['start']!.dir, { path: modelPath });
  const originals = rows.map(({ original }) => encode(original, params.max_length)),
    poisoned = rows.map(({ new: changed }) => encode(changed, params.max_length));
  const alike = originals.filter(
    ({ ids }, i) =>
      ids.length === poisoned[i]!.ids.length && ids.every((id, t) => id === poisoned[i]!.ids[t]),
  ).length;
  return {
    pairs: rows.length,
    alike,
    ...(await pairKernels(start, originals, poisoned, { signal: context.signal })),
  };
}

/** The first training that a run and its clean twin do not share: where they part, and whose poisoned rows M' is of. */
function partingOf(cell: Cell): Cell {
  const base = baseOf(cell);
  return base !== null && isAttacked(base) ? base : cell;
}

export default defineStage({
  name: 'divergence',
  summary:
    "Measures M, how far poisoned data carry the weights from where the paired clean run goes, and M', the start's kernel between poisoned rows and their originals.",
  compute: true,
  scope: 'cell',
  define([one], { plugin }) {
    const cell = one!,
      twin = cleanTwin(cell, plugin),
      parts = partingOf(cell);
    const attacked = isAttacked(cell) && !isAttacksOwn(cell.poisoning, plugin),
      within = parts === cell ? {} : { section: 'base' };
    return {
      params: {
        architecture: cell.model.architecture,
        adapter: cell.adapter.type,
        ...(parts === cell ? {} : { base_adapter: parts.adapter.type }),
        pairs: cell.theory.pairs,
        max_length: parts.train.max_length,
      } satisfies Params as unknown as JsonObject,
      inputs: attacked
        ? {
            start: { kind: 'train', cell: beforeTraining(parts), ...within },
            model: { kind: 'train', cell },
            clean: { kind: 'train', cell: twin },
            poison: { kind: 'poison', cell: parts, ...within },
            ...startInputs(cell),
            ...(parts === cell ? {} : { clean_base: startInputs(twin).base! }),
          }
        : {},
      assets: attacked ? { model: cell.model.source } : {},
      uses: attacked
        ? [
            { kind: 'model', name: cell.model.architecture },
            ...[...new Set([cell.adapter.type, parts.adapter.type])].map((name) => ({
              kind: 'adapter' as const,
              name,
            })),
          ]
        : [],
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});

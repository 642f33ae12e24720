import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  AdapterDescriptor,
  Cell,
  JsonObject,
  ModelDescriptor,
  RunContext,
  StageInput,
} from '../../src/api.ts';
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
import type { Receipt } from '../../src/poisoning/receipt.ts';
import type { AdaptedModelOptions } from '../../src/science/nn/adapted-model.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Network } from '../../src/science/nn/network.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { PairKernel } from '../../src/science/ntk/pairs.ts';
import type { MeanDistance, RunDistance } from '../../src/science/weights/compare-runs.ts';

interface Params {
  readonly architecture: string;
  readonly adapter: string;
  /** Of the training that the two runs part at, where that is their bases'. */
  readonly base_adapter?: string;
  /** Poisoned rows that are paired with their originals for M'. */
  readonly pairs: number;
  readonly max_length: number;
  /** Whether the trainings that part may use dropout; left out where they don't. */
  readonly dropout?: true;
  /** Why the noise floor is not measured; left out where it is. */
  readonly no_floor?: string;
}

interface Point extends RunDistance {
  readonly step: number;
  /** How far the clean run lies from itself when rounding alone differs; null where it was not measured. */
  readonly floor: MeanDistance | null;
}

/** How the noise floor was measured, as a result says it. */
const FLOOR =
  "the clean run trained again, alone, each batch's rows read in reverse order: the same sums in another order of reduction";

type NoiseFloor =
  | {
      readonly measured: true;
      readonly method: string;
      /** Of those that M is over, how many the repeated run kept too. */
      readonly checkpoints: number;
      readonly mean: MeanDistance;
    }
  | { readonly measured: false; readonly method: null; readonly reason: string };

/** M's L2 over the floor's, part by part, over the steps that have both. A part whose floor is 0 has no ratio. */
function overFloor(points: readonly Point[]): Record<string, number> {
  const sums = { total: [0, 0], trained: [0, 0], head: [0, 0] };
  for (const { floor, ...point } of points) {
    for (const part of ['total', 'trained', 'head'] as const) {
      if (floor === null) continue;
      sums[part][0]! += point[part]?.l2 ?? 0;
      sums[part][1]! += floor[part]?.l2 ?? 0;
    }
  }
  return Object.fromEntries(
    Object.entries(sums).flatMap(([part, [own, floor]]) =>
      floor! > 0 ? [[`${part}.over_floor`, own! / floor!] as const] : [],
    ),
  );
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
      `${JSON.stringify({ points: [], mean: null, noise_floor: null, between: null }, null, 1)}\n`,
    );
    await writeFile(join(context.outDir, 'metrics.json'), '{}\n');
    context.log('nothing to compare: no attack, or one that trains no layer');
    return;
  }
  const [
    { modelOf, startingModel },
    { openTrained },
    { adaptedModel },
    { compareRuns, flatDistances, meanOver },
    { movedBy },
    { keptSteps },
  ] = await Promise.all([
    import('../../src/data/model-folder.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/weights/compare-runs.ts'),
    import('../../src/science/weights/moved.ts'),
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

  const again = context.inputs['again'];
  const ofAgain = again === undefined ? null : await looks(again.dir, await keptSteps(again.dir));
  const breathe = async (): Promise<void> => {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    context.signal.throwIfAborted();
  };
  /** M at one step, and where the repeated run was there too, the noise floor. */
  const pointAt = (start: Network, step: number): Promise<Point> =>
    open(
      clean.dir,
      ofTwin.places.get(step) ?? null,
      (ofClean) =>
        open(
          poisonedDir,
          ofPoison.places.get(step) ?? null,
          async (ofPoisoned): Promise<Point> => {
            const moved = movedBy(ofPoisoned, [ofPoisoned.adapter, start.adapter]);
            const compare = (others: readonly Network[]): Promise<RunDistance[]> =>
              compareRuns(start, ofClean, others, moved, breathe);
            if (again === undefined || !ofAgain!.places.has(step)) {
              const [own] = await compare([ofPoisoned]);
              return { step, ...own!, floor: null };
            }
            return open(
              again.dir,
              ofAgain!.places.get(step) ?? null,
              async (repeated) => {
                const [own, { layers: _layers, ...floor }] = (await compare([
                  ofPoisoned,
                  repeated,
                ])) as [RunDistance, RunDistance];
                return { step, ...own, floor };
              },
              ofCleanRun,
            );
          },
          ofPoisonedRun,
        ),
      ofCleanRun,
    );
  const { between, points } = await open(
    context.inputs['start']!.dir,
    null,
    async (start) => {
      const along: Point[] = [];
      for (const step of common) {
        along.push(await pointAt(start, step));
        context.progress(along.length, common.length, 'checkpoints');
      }
      return {
        points: along,
        between: await kernelsBetween(context, params, ofStart.model.path, adaptedModel(start)),
      };
    },
    ofStart,
  );
  const mean = meanOver(points);
  const floors = points.flatMap(({ floor }) => floor ?? []);
  const noise: NoiseFloor =
    floors.length === 0
      ? {
          measured: false,
          method: null,
          reason:
            params.no_floor ??
            'the repeated run and the two that are compared kept no step in common',
        }
      : { measured: true, method: FLOOR, checkpoints: floors.length, mean: meanOver(floors) };
  await writeFile(
    join(context.outDir, 'divergence.json'),
    `${JSON.stringify({ points, mean, noise_floor: noise, between }, null, 1)}\n`,
  );
  await writeFile(
    join(context.outDir, 'metrics.json'),
    `${JSON.stringify(
      {
        checkpoints: points.length,
        ...flatDistances(mean),
        ...(noise.measured
          ? {
              ...flatDistances(noise.mean, 'floor.', ['clean_change']), // the same clean run's as M's
              ...overFloor(points),
            }
          : {}),
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
  const what = mean.trained ?? mean.head;
  context.log(
    what === null
      ? 'nothing is trained: there is no M'
      : `M over ${points.length} ${points.length === 1 ? 'point' : 'points'}, ${mean.trained === null ? 'of the head' : 'of all that is trained below the head'}: largest ${what.largest.toExponential(2)}, L2 ${what.l2.toPrecision(3)}, relative ${what.relative?.toFixed(3) ?? 'undefined'}`,
  );
  if (mean.total === null)
    context.log(
      "the adapter trains no layer's weight: M is of what it does train, and cannot be compared with LoRA's or full fine-tuning's `total`",
    );
  context.log(
    noise.measured
      ? `noise floor: ${FLOOR}; its L2 is ${(noise.mean.trained ?? noise.mean.head)?.l2.toExponential(2) ?? 'undefined'}`
      : `noise floor not measured: ${noise.reason}`,
  );
  if (params.dropout === true)
    context.log(
      'with dropout M, like accuracy_drop and asr_minus_clean, also holds what other masks do: where the attack changes the shape of batches (longer texts, added rows), the two runs draw different ones',
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

/** Whether a training uses dropout, or may: where the spec has none, an adapter that comes from a folder has the folder's. */
const dropsOut = ({ train, adapter }: Cell): boolean =>
  train.dropout > 0 ||
  Number(adapter['dropout'] ?? 0) > 0 ||
  (adapter['init_from'] !== undefined && adapter['dropout'] === undefined);

/** Why a run repeated with the rows of its batches reversed would not show rounding alone; null where it does. */
function withoutFloor(cell: Cell, parts: Cell): string | null {
  if (!cell.theory.noise_floor) return 'theory.noise_floor is off';
  if (parts !== cell)
    return "the runs part in their bases' training, and only a cell's own is repeated";
  if (cell.train.batch_size === 1)
    return 'a batch of one row has one order of rows (train.batch_size: 1)';
  if (cell.train.dropout > 0 || Number(cell.adapter['dropout'] ?? 0) > 0)
    return 'dropout draws its masks by place in the batch: with the rows reversed they would be others, which is more than rounding';
  // The folder's rate holds where the spec has none, and is read when the training runs.
  if (cell.adapter['init_from'] !== undefined && cell.adapter['dropout'] === undefined)
    return 'the folder that adapter.init_from names may have a dropout, which would be more than rounding: write adapter.dropout: 0 to train without, and measure it';
  return null;
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
      within = parts === cell ? {} : { section: 'base' },
      noFloor = withoutFloor(cell, parts);
    return {
      params: {
        architecture: cell.model.architecture,
        adapter: cell.adapter.type,
        ...(parts === cell ? {} : { base_adapter: parts.adapter.type }),
        pairs: cell.theory.pairs,
        max_length: parts.train.max_length,
        ...(dropsOut(cell) || dropsOut(parts) ? { dropout: true } : {}),
        ...(noFloor === null ? {} : { no_floor: noFloor }),
      } satisfies Params,
      inputs: attacked
        ? {
            start: { kind: 'train', cell: beforeTraining(parts), ...within },
            model: { kind: 'train', cell },
            clean: { kind: 'train', cell: twin },
            // One repeated run per clean run; all attacks and doses compared with that clean run share it.
            ...(noFloor === null
              ? { again: { kind: 'train' as const, cell: twin, with: { batch_rows: 'reversed' } } }
              : {}),
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

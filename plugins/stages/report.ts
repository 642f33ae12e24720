import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type {
  AttackDescriptor,
  Cell,
  DatasetInfo,
  JsonObject,
  Poisoning,
  RunContext,
  StageRequest,
} from '../../src/api.ts';
import {
  attackOf,
  baseOf,
  defineStage,
  isOfBase,
  pointName,
  pointsIn,
  stepsOf,
} from '../../src/api.ts';
import { filesApart } from '../../src/command/files.ts';
import { datasetUri } from '../../src/data/source-uri.ts';
import { familyOfSteps, openSteps } from '../../src/poisoning/steps.ts';
import type {
  Checkpoint,
  FisherPoint,
  KernelPoint,
  LoraFacts,
  MapFacts,
  ReceiptFacts,
  ReportCell,
} from '../../src/report/types.ts';
import type { Distribution } from '../../src/science/nn/lora-init.ts';

/** Goals whose cells were trained on poisoned rows: beside them stand the receipts and the data sets. */
const LEARNT = new Set(['train', 'evaluate', 'kernel', 'ntk', 'fisher']);
/** The checkpoints that a stage's output has a folder of. */
const checkpointsIn = async (dir: string): Promise<Checkpoint[]> =>
  pointsIn(await readdir(dir)).map((at) => pointName(at) as Checkpoint);

/** What the report says of the grid that the stages' files don't. */
interface Params {
  readonly goals: readonly string[];
  readonly cells: readonly {
    readonly seed: number;
    /** The attack that the cell is about; `of_base` where it is its base's. */
    readonly poisoning: Poisoning;
    readonly of_base?: true;
    readonly adapter: { readonly type: string } & JsonObject;
    /** Into `Params.train`. */
    readonly train: number;
  }[];
  /** Distinct ones: most cells share theirs. */
  readonly train: readonly JsonObject[];
  /** Role → what is written in the spec. */
  readonly sources: { readonly [role: string]: JsonObject };
}

/** Distinct values, and for each item the place of its own. */
function intern<T>(values: readonly T[]): {
  readonly distinct: readonly T[];
  readonly index: readonly number[];
} {
  const known = new Map<string, number>();
  const distinct: T[] = [];
  const index = values.map((value) => {
    const key = JSON.stringify(value);
    let at = known.get(key);
    if (at === undefined) {
      known.set(key, (at = distinct.length));
      distinct.push(value);
    }
    return at;
  });
  return { distinct, index };
}

/** Where a file lies on this machine is no part of what was asked, nor of the report's key. */
const portable = <T extends { readonly source: string }>(section: T): JsonObject => ({
  ...section,
  source: section.source.startsWith('file:')
    ? `file:…/${basename(section.source.slice('file:'.length))}`
    : section.source,
});

const attackNames = (cells: readonly { readonly poisoning: Poisoning }[]): string[] => [
  ...new Set(cells.flatMap(({ poisoning }) => stepsOf(poisoning).map(({ attack }) => attack))),
];

const numbered = (role: string, index: number): string =>
  index === 0 ? role : `${role} ${index + 1}`;

function definition(
  cells: readonly Cell[],
  goals: readonly string[],
): {
  readonly params: Params;
  readonly inputs: { readonly [name: string]: StageRequest };
  readonly assets: { readonly [name: string]: string };
  readonly attacks: readonly string[];
} {
  const kinds = goals.filter((goal) => goal !== 'report');
  const learnt = kinds.some((kind) => LEARNT.has(kind));
  const inputs: { [name: string]: StageRequest } = {};
  cells.forEach((cell, index) => {
    for (const kind of kinds) inputs[`${kind}:${index}`] = { kind, cell };
    if (learnt && !kinds.includes('poison'))
      inputs[`poison:${index}`] = isOfBase(cell)
        ? { kind: 'poison', cell: baseOf(cell)!, section: 'base' }
        : { kind: 'poison', cell };
  });
  const train = intern(cells.map((cell) => cell.train as JsonObject));
  const models = intern(cells.map((cell) => cell.model));
  const data = intern(cells.map((cell) => cell.data));
  const sources: { [role: string]: JsonObject } = Object.fromEntries(
    models.distinct.map((model, i) => [numbered('model', i), portable(model)]),
  );
  // The sources themselves: the same rows may come from a file that has changed elsewhere, and the report says from which.
  const assets: { [name: string]: string } = {};
  data.distinct.forEach((splits, i) => {
    for (const [split, role] of [
      ['train', 'training data'],
      ['validation', 'validation data'],
    ] as const) {
      const name = numbered(role, i);
      sources[name] = portable(splits[split]);
      if (!learnt) continue;
      inputs[name] = { kind: 'data', cell: cells[data.index.indexOf(i)]!, with: { split } };
      assets[name] = datasetUri(splits[split].source);
    }
  });
  return {
    params: {
      goals,
      train: train.distinct,
      sources,
      cells: cells.map((cell, i) => ({
        seed: cell.seed,
        poisoning: filesApart(attackOf(cell)).poisoning,
        ...(isOfBase(cell) ? { of_base: true as const } : {}),
        adapter: cell.adapter,
        train: train.index[i]!,
      })),
    },
    inputs,
    assets,
    attacks: learnt ? attackNames(cells.map((cell) => ({ poisoning: attackOf(cell) }))) : [],
  };
}

const optional = async <T>(path: string, parse: (text: string) => T): Promise<T | null> =>
  existsSync(path) ? parse(await readFile(path, 'utf8')) : null;
const json = (text: string): unknown => JSON.parse(text);

/** Reads the inputs' files; a failed stage has no input (the stage is tolerant), and what it would have written is left out. */
async function openReader(inputs: RunContext['inputs']) {
  const [
    report,
    { readKernels, readPremises },
    { initialVariance },
    { readPeftShapes },
    { readDatasetInfo, readProvenance },
  ] = await Promise.all([
    import('../../src/report/inputs.ts'),
    import('../../src/science/ntk/files.ts'),
    import('../../src/science/nn/lora-init.ts'),
    import('../../src/science/io/peft.ts'),
    import('../../src/data/rows-file.ts'),
  ]);
  const dirOf = (kind: string, index: number): string | null =>
    inputs[`${kind}:${index}`]?.dir ?? null;

  /** Of A's rows as training started; without an ntk stage, predictions from the shapes of the trained adapter. */
  async function lora(index: number, adapter: JsonObject): Promise<LoraFacts | null> {
    const init = adapter['init'] as
      { readonly distribution?: Distribution; readonly variance?: number | string } | undefined;
    const nominal =
      adapter['init_from'] === undefined && init?.distribution !== undefined
        ? (fanIn: number, rank: number): number =>
            initialVariance({ ...init, distribution: init.distribution! }, fanIn, rank)
        : null;
    const ntk = dirOf('ntk', index),
      train = dirOf('train', index);
    const premises = ntk === null ? [] : await readPremises(join(ntk, 'init'));
    if (premises.length > 0) return report.loraFacts(premises, nominal);
    if (
      train === null ||
      nominal === null ||
      !existsSync(join(train, 'adapter', 'adapter_config.json'))
    )
      return null;
    const shapes = await readPeftShapes(join(train, 'adapter'));
    return report.loraFacts(
      shapes.map((shape) => ({
        ...shape,
        variance: nominal(shape.width, shape.rank),
        measured: null,
      })),
      nominal,
    );
  }

  async function kernels(index: number): Promise<{ readonly [C in Checkpoint]?: KernelPoint }> {
    const points: { [C in Checkpoint]?: KernelPoint } = {};
    const ntk = dirOf('ntk', index)!;
    for (const at of await checkpointsIn(ntk)) {
      const dir = join(ntk, at);
      const { rows, classes, full, lora: ofLora, labels } = await readKernels(dir);
      points[at] = {
        labels,
        kernels: {
          ...(full === null ? {} : { full: { rows, classes, data: full } }),
          ...(ofLora === null ? {} : { lora: { rows, classes, data: ofLora } }),
        },
      };
    }
    return points;
  }

  async function receipt(index: number): Promise<ReceiptFacts | null> {
    const dir = dirOf('poison', index);
    if (dir === null) return null;
    const { classes } = await readDatasetInfo(dir);
    return optional(join(dir, 'receipt.json'), (text) =>
      report.receiptFacts(JSON.parse(text), classes),
    );
  }

  async function cell(
    index: number,
    kinds: readonly string[],
    adapter: { readonly type: string } & JsonObject,
  ): Promise<
    Pick<ReportCell, 'metrics' | 'history' | 'fisher' | 'kernelSpectra' | 'lora' | 'map' | 'curves'>
  > {
    const metrics: { [stage: string]: { readonly [metric: string]: number } } = {};
    for (const kind of kinds) {
      const dir = dirOf(kind, index);
      const numbers =
        dir === null
          ? null
          : await optional(join(dir, 'metrics.json'), (text) =>
              report.parseMetrics(text, `${kind} (${dir})`),
            );
      if (numbers !== null) metrics[kind] = numbers;
    }
    const fisher: { [C in Checkpoint]?: FisherPoint } = {};
    const kernelSpectra: { [C in Checkpoint]?: ReportCell['kernelSpectra'][C] } = {};
    const fisherDir = dirOf('fisher', index);
    if (fisherDir !== null) {
      for (const at of await checkpointsIn(fisherDir)) {
        const point = await optional(join(fisherDir, at, 'fisher.json'), report.parseFisher);
        if (point !== null) fisher[at] = point;
        const spectra = await optional(join(fisherDir, at, 'kernel-spectrum.json'), json);
        if (spectra !== null)
          kernelSpectra[at] = spectra as NonNullable<ReportCell['kernelSpectra'][Checkpoint]>;
      }
    }
    const train = dirOf('train', index),
      curves =
        train === null ? null : await optional(join(train, 'curves.jsonl'), report.parseCurves),
      mapDir = dirOf('theory-map', index);
    const map =
      mapDir === null
        ? null
        : ((await optional(join(mapDir, 'map.json'), json)) as MapFacts | null);
    return {
      ...(map === null ? {} : { map }),
      ...(curves === null ? {} : { curves }),
      metrics,
      fisher,
      kernelSpectra: kernelSpectra,
      history:
        train === null ? null : await optional(join(train, 'history.jsonl'), report.parseHistory),
      lora: adapter.type === 'full' ? null : await lora(index, adapter),
    };
  }

  /** What the spec says of a model or a split, and what was really read. */
  async function sources(
    asked: Params['sources'],
    models: readonly string[],
  ): Promise<{ readonly sources: Params['sources']; readonly classes: readonly string[] }> {
    let classes: readonly string[] = [];
    const found: { [role: string]: JsonObject } = {};
    for (const [role, written] of Object.entries(asked)) {
      const dir = inputs[role]?.dir;
      const info: DatasetInfo | null = dir === undefined ? null : await readDatasetInfo(dir);
      if (info !== null && classes.length === 0) classes = info.classes;
      found[role] =
        info === null
          ? written
          : {
              source: written['source']!,
              rows: info.rows,
              classes: info.classes.map((name, id) => `${name} (${info.counts[id] ?? 0})`),
              asked: written,
              read: await readProvenance(dir!),
            };
    }
    if (models.length > 0 && found['model'] !== undefined)
      found['model'] = { ...found['model'], digest: models.join(', ') };
    return { sources: found, classes };
  }

  /** Digests of the checkpoints that were trained from. */
  async function modelDigests(count: number): Promise<readonly string[]> {
    const digests = new Set<string>();
    for (let index = 0; index < count; index++) {
      const dir = dirOf('train', index);
      const record =
        dir === null
          ? null
          : ((await optional(join(dir, 'train.json'), json)) as {
              readonly model?: unknown;
              readonly source?: unknown;
            } | null);
      const digest = record?.source ?? record?.model; // a base's model is none that the spec names
      if (typeof digest === 'string') digests.add(digest);
    }
    return [...digests];
  }
  return { cell, kernels, receipt, sources, modelDigests };
}

/** Without results to judge (no stage that learns) no attack's code is in the key. */
function familyIn(
  byName: ReadonlyMap<string, AttackDescriptor>,
  poisoning: Poisoning,
): ReportCell['family'] {
  if (byName.size === 0) return poisoning.attack === 'none' ? 'none' : 'untargeted';
  return familyOfSteps(openSteps(poisoning, (name) => byName.get(name)!));
}

/** Whether what a training on these rows lowers is an attack's own. */
const changesLoss = (
  byName: ReadonlyMap<string, AttackDescriptor>,
  poisoning: Poisoning,
): boolean =>
  stepsOf(poisoning).some(({ attack }) => byName.get(attack)?.training?.changes === 'loss');

async function run(context: RunContext): Promise<void> {
  const { experiment, inputs, outDir } = context;
  if (experiment === undefined)
    throw new Error('a report is of a whole experiment, and none was handed over');
  const { goals, cells: planned, train, sources } = context.params as unknown as Params;
  if (experiment.cells.length !== planned.length)
    throw new Error(
      `the experiment has ${experiment.cells.length} cells, the report was planned for ${planned.length}`,
    );
  const [{ renderReport }, { chooseKernels }, reader] = await Promise.all([
    import('../../src/report/report.ts'),
    import('../../src/report/figures/kernels.ts'),
    openReader(inputs),
  ]);

  const kinds = goals.filter((goal) => goal !== 'report');
  const names = kinds.some((kind) => LEARNT.has(kind)) ? attackNames(planned) : [];
  const attacks = names.map((name) => context.plugin<AttackDescriptor>('attack', name));
  const byName = new Map(attacks.map((attack) => [attack.name, attack]));

  // What joins the grid, or is the same for all of it, has no number of one cell's: repeated, it would look like agreement.
  const isShared = (kind: string): boolean =>
    experiment.cells.length > 1 &&
    new Set(experiment.cells.map(({ stages }) => stages[kind])).size === 1;
  const told = kinds.filter((kind) => LEARNT.has(kind) || !isShared(kind));
  const cells: ReportCell[] = [];
  for (const [
    index,
    { seed, poisoning, of_base: onBase, adapter, train: at },
  ] of planned.entries()) {
    const facts = experiment.cells[index]!;
    if (facts.seed !== seed)
      throw new Error(`cell ${index} has seed ${facts.seed}, the report was planned for ${seed}`);
    cells.push({
      axes: facts.cell,
      ...(facts.also === undefined ? {} : { also: facts.also }),
      seed,
      stages: facts.stages,
      attack: poisoning.attack,
      adapter: adapter.type,
      train: train[at]!,
      family: familyIn(byName, poisoning),
      ...(onBase === undefined ? {} : { ofBase: onBase }),
      ...(onBase === undefined && changesLoss(byName, poisoning)
        ? { attacksLoss: true as const }
        : {}),
      kernels: {},
      receipt: null,
      ...(await reader.cell(index, told, adapter)),
    });
    context.progress(index + 1, planned.length, 'cells');
    context.signal.throwIfAborted();
  }
  // Few cells' kernels and receipts are shown, so few are read.
  const places = new Map(cells.map((cell, index) => [cell, index]));
  const drawn = chooseKernels(
    cells,
    (cell) => inputs[`ntk:${places.get(cell)!}`] !== undefined,
  ).map(({ cell }) => places.get(cell)!);
  for (const index of new Set(drawn))
    cells[index] = { ...cells[index]!, kernels: await reader.kernels(index) };
  const shown = new Set<string>();
  for (const [index, { poisoning }] of planned.entries()) {
    const name = JSON.stringify(poisoning);
    const receipt = shown.has(name) ? null : await reader.receipt(index);
    if (receipt === null) continue;
    shown.add(name);
    cells[index] = { ...cells[index]!, receipt };
  }

  const { html, files } = await renderReport({
    name: experiment.name,
    specFile: experiment.specFile,
    specText: experiment.specText,
    goals,
    cells,
    stages: experiment.stages,
    backends: [
      ...new Set(experiment.stages.flatMap(({ backend }) => (backend === null ? [] : [backend]))),
    ],
    ...(await reader.sources(sources, await reader.modelDigests(cells.length))),
    attacks: attacks.map(({ name, summary, citation }) => ({ name, summary, citation })),
    environment: experiment.environment,
  });
  await writeFile(join(outDir, 'report.html'), html);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(outDir, path)), { recursive: true });
    await writeFile(join(outDir, path), content);
  }
  context.log(
    `${cells.length} cells; report.html has ${(html.length / 1024).toFixed(0)} kB, figures/ ${Object.keys(files).length} files`,
  );
}

export default defineStage({
  name: 'report',
  summary:
    'Joins the grid in one HTML file that opens offline: findings over seeds, tables, figures, provenance.',
  compute: false,
  scope: 'experiment',
  // Timings stand in them.
  volatile: ['report.html', 'figures/stages.svg', 'figures/stages.csv'],
  tolerant: true,
  define(cells, { goals }) {
    const { params, inputs, assets, attacks } = definition(cells, goals);
    return {
      params: params as unknown as JsonObject,
      inputs,
      assets,
      uses: attacks.map((name) => ({ kind: 'attack' as const, name })),
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});

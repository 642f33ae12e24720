/**
 * Reads the files of the report's inputs. A failed stage is missing from the inputs, which the
 * report tolerates: what the stage would have written is left out.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { type JsonObject, pointName, pointsIn, type RunContext } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { readDatasetInfo, readProvenance } from '../../../src/data/rows-file.ts';
import { rocCurve } from '../../../src/defences/detection.ts';
import {
  type LayerFacts,
  loraFacts,
  parseCurves,
  parseFisher,
  parseHistory,
  parseMetrics,
  receiptFacts,
  type ReceiptFile,
  writingFacts,
} from '../../../src/report/inputs.ts';
import type {
  AgreementFacts,
  Checkpoint,
  FisherPoint,
  KernelPoint,
  MapFacts,
  ReceiptFacts,
  ReportCell,
  TaskFacts,
  WritingFacts,
} from '../../../src/report/types.ts';
import { readKernels, readPremises } from '../../../src/science/measures/ntk/files.ts';
import { statedVariance } from '../../adapters/lora/init.ts';
import type { Params, PlannedCell } from './index.ts';

export type Inputs = RunContext['inputs'];

const dirOf = (inputs: Inputs, kind: string, index: number): string | null =>
  inputs[`${kind}:${index}`]?.dir ?? null;

/** Returns what `parse` makes of a file's text; null if there is no such folder or file. */
async function readOptional<T>(
  dir: string | null,
  file: string,
  parse: (text: string) => T,
): Promise<T | null> {
  if (dir === null) return null;
  const path = join(dir, file);
  return existsSync(path) ? parse(await readFile(path, 'utf8')) : null;
}
const parseJson = (text: string): unknown => JSON.parse(text);
const headType = (text: string): unknown =>
  (JSON.parse(text) as { readonly head?: { readonly type?: unknown } }).head?.type;

const checkpointsIn = async (dir: string): Promise<readonly Checkpoint[]> =>
  pointsIn(await readdir(dir)).map((at) => pointName(at) as Checkpoint);

/**
 * Returns a function from width and rank to the σ² that the spec's `init` states; null if it states
 * none, if A came from a folder, or under DoRA.
 */
function nominalVariance(adapter: JsonObject): ReturnType<typeof statedVariance> {
  const init = adapter['init'] as Parameters<typeof statedVariance>[0];
  // DoRA has no Δ_r, and so no premise.
  return adapter['use_dora'] === true ||
    adapter['init_from'] !== undefined ||
    init?.distribution === undefined
    ? null
    : statedVariance(init);
}

/**
 * Reads what is known about A at the start of training. Without an ntk stage, the premise is
 * predicted from the shapes of the trained adapter.
 */
async function readLora(
  inputs: Inputs,
  index: number,
  adapter: JsonObject,
): Promise<ReportCell['lora']> {
  const nominal = nominalVariance(adapter);
  const ntk = dirOf(inputs, 'ntk', index),
    train = dirOf(inputs, 'train', index);
  const premises = ntk === null ? [] : await readPremises(join(ntk, 'init'));
  if (premises.length > 0) return loraFacts(premises, nominal);
  if (train === null || nominal === null) return null;
  const { lora_layers: layers = [] } = ((await readOptional(train, 'train.json', parseJson)) ??
    {}) as {
    readonly lora_layers?: readonly Pick<LayerFacts, 'rank' | 'width' | 'scale'>[];
  };
  return loraFacts(
    layers.map((shape) => ({
      ...shape,
      variance: nominal(shape.width, shape.rank),
      measured: null,
    })),
    nominal,
  );
}

async function readMetrics(
  inputs: Inputs,
  index: number,
  kinds: readonly string[],
): Promise<ReportCell['metrics']> {
  const metrics: { [stage: string]: { readonly [metric: string]: number } } = {};
  for (const kind of kinds) {
    const dir = dirOf(inputs, kind, index);
    const numbers = await readOptional(dir, 'metrics.json', (text) =>
      parseMetrics(text, `${kind} (${dir ?? ''})`),
    );
    if (numbers !== null) metrics[kind] = numbers;
  }
  return metrics;
}

async function readFisher(
  inputs: Inputs,
  index: number,
): Promise<Pick<ReportCell, 'fisher' | 'kernelSpectra'>> {
  const fisher: { [C in Checkpoint]?: FisherPoint } = {};
  const kernelSpectra: { [C in Checkpoint]?: ReportCell['kernelSpectra'][C] } = {};
  const dir = dirOf(inputs, 'fisher', index);
  for (const at of dir === null ? [] : await checkpointsIn(dir)) {
    const point = await readOptional(dir, join(at, 'fisher.json'), parseFisher);
    if (point !== null) fisher[at] = point;
    const spectra = await readOptional(dir, join(at, 'kernel-spectrum.json'), parseJson);
    if (spectra !== null)
      kernelSpectra[at] = spectra as NonNullable<ReportCell['kernelSpectra'][Checkpoint]>;
  }
  return { fisher, kernelSpectra };
}

/** Returns what the model wrote under a trigger. Null if there was none, or for classes. */
async function readWriting(inputs: Inputs, index: number): Promise<WritingFacts | null> {
  const dir = dirOf(inputs, 'evaluate', index);
  const scorer = await readOptional(dir, 'scorer.json', parseJson);
  return scorer === null
    ? null
    : readOptional(dir, 'outputs.jsonl', (text) =>
        writingFacts(text, scorer as WritingFacts['scorer']),
      );
}

const MOST_POINTS = 200; // of a ROC curve

/** Returns the points of a ROC curve, thinned evenly; empty if all rows are of one kind. */
function rocPoints(text: string): readonly (readonly [number, number])[] {
  type Line = { readonly score: string; readonly poisoned: string };
  const lines = parse<Line>(text, { columns: true });
  const points = rocCurve(
    lines.map(({ score }) => Number(score)),
    lines.map(({ poisoned }) => poisoned === '1'),
  );
  const step = Math.ceil(points.length / MOST_POINTS);
  return points
    .filter((_, i) => i % step === 0 || i === points.length - 1)
    .map(({ falsePositiveRate, truePositiveRate }) => [falsePositiveRate, truePositiveRate]);
}

async function readRoc(inputs: Inputs, index: number): Promise<NonNullable<ReportCell['roc']>> {
  const curve = (kind: string) => readOptional(dirOf(inputs, kind, index), 'scores.csv', rocPoints);
  const [filter, judged] = [await curve('defend'), await curve('evaluate')];
  return {
    ...(filter === null || filter.length === 0 ? {} : { filter }),
    ...(judged === null || judged.length === 0 ? {} : { inputs: judged }),
  };
}

/** The parts of a cell that its stages' files hold, except kernel matrices and receipts. */
export type ReadCell = Pick<
  ReportCell,
  | 'outputs'
  | 'writing'
  | 'agreement'
  | 'tasks'
  | 'roc'
  | 'metrics'
  | 'history'
  | 'fisher'
  | 'kernelSpectra'
  | 'lora'
  | 'map'
  | 'curves'
>;

/** Reads the files of a cell's stages. @param kinds the stages whose metrics are read */
export async function readCell(
  inputs: Inputs,
  index: number,
  kinds: readonly string[],
  { adapter }: PlannedCell,
): Promise<ReadCell> {
  const train = dirOf(inputs, 'train', index);
  const curves = await readOptional(train, 'curves.jsonl', parseCurves);
  const head = await readOptional(train, 'train.json', headType);
  const writing = await readWriting(inputs, index);
  const evaluated = dirOf(inputs, 'evaluate', index);
  const agreement = await readOptional(evaluated, 'agreement.json', parseJson);
  const tasks = await readOptional(evaluated, 'tasks.json', parseJson);
  const map = await readOptional(dirOf(inputs, 'theory-map', index), 'map.json', parseJson);
  const roc = await readRoc(inputs, index);
  return {
    ...(map === null ? {} : { map: map as MapFacts }),
    ...(curves === null ? {} : { curves }),
    ...(writing === null ? {} : { writing }),
    ...(agreement === null ? {} : { agreement: agreement as AgreementFacts }),
    ...(tasks === null ? {} : { tasks: tasks as readonly TaskFacts[] }),
    ...(Object.keys(roc).length === 0 ? {} : { roc }),
    ...(head === 'causal-lm' ? { outputs: 'log p(answer)' } : {}),
    metrics: await readMetrics(inputs, index, kinds),
    ...(await readFisher(inputs, index)),
    history: await readOptional(train, 'history.jsonl', parseHistory),
    lora: adapter.type === 'full' ? null : await readLora(inputs, index, adapter),
  };
}

/** Reads the kernels of a cell's ntk stage. Empty if the stage has no output. */
export async function readCellKernels(
  inputs: Inputs,
  index: number,
): Promise<ReportCell['kernels']> {
  const points: { [C in Checkpoint]?: KernelPoint } = {};
  const ntk = dirOf(inputs, 'ntk', index);
  for (const at of ntk === null ? [] : await checkpointsIn(ntk)) {
    const dir = join(ntk ?? '', at);
    if (!existsSync(join(dir, 'logits.npy'))) continue; // removed, as the spec's `keep` asked
    const { rows, classes, outputs, full, lora, labels } = await readKernels(dir);
    points[at] = {
      ...(outputs === 'class logits' ? {} : { outputs }),
      labels,
      kernels: {
        ...(full === null ? {} : { full: { rows, classes, data: full } }),
        ...(lora === null ? {} : { lora: { rows, classes, data: lora } }),
      },
    };
  }
  return points;
}

/** Returns the receipt of an input; null if there is none. */
export async function readReceipt(inputs: Inputs, input: string): Promise<ReceiptFacts | null> {
  const dir = inputs[input]?.dir;
  if (dir === undefined) return null;
  const { classes } = await readDatasetInfo(dir);
  return readOptional(dir, 'receipt.json', (text) =>
    receiptFacts(JSON.parse(text) as ReceiptFile, classes),
  );
}

/** Returns the distinct digests of the models that the spec names, from the cells' trainings. */
async function modelDigests(inputs: Inputs, cells: number): Promise<readonly string[]> {
  const digests = new Set<string>();
  for (let index = 0; index < cells; index++) {
    const record = (await readOptional(dirOf(inputs, 'train', index), 'train.json', parseJson)) as {
      readonly model?: unknown;
      readonly source?: unknown;
    } | null;
    // If the training started from a base, `model` is the base's digest, and `source` that of the
    // model that the spec names.
    const digest = record?.source ?? record?.model;
    if (typeof digest === 'string') digests.add(digest);
  }
  return [...digests];
}

/**
 * Returns what the spec says about each model and split, together with what was actually read, and
 * the classes of the first split that has any.
 */
export async function readSources(
  inputs: Inputs,
  asked: Params['sources'],
  cells: number,
): Promise<{ readonly sources: Params['sources']; readonly classes: readonly string[] }> {
  let classes: readonly string[] = [];
  const found: { [role: string]: JsonObject } = {};
  for (const [role, written] of Object.entries(asked)) {
    const dir = inputs[role]?.dir;
    if (dir === undefined) {
      found[role] = written;
      continue;
    }
    const info = await readDatasetInfo(dir);
    if (classes.length === 0) classes = info.classes;
    found[role] = {
      ...defined({ source: written['source'] }),
      rows: info.rows,
      ...(info.classes.length > 0 && {
        classes: info.classes.map((name, id) => `${name} (${info.counts[id] ?? 0})`),
      }),
      asked: written,
      read: await readProvenance(dir),
    };
  }
  const models = await modelDigests(inputs, cells);
  if (models.length > 0 && found['model'] !== undefined)
    found['model'] = { ...found['model'], digest: models.join(', ') };
  return { sources: found, classes };
}

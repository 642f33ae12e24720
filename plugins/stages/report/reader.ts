/** Reads the files of the report's inputs. What a failed stage would have written is left out. */
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

/** Returns the output of a cell's stage; undefined if the stage failed or is not an input. */
const dirOf = (inputs: Inputs, kind: string, index: number): string | undefined =>
  inputs[`${kind}:${index}`]?.dir;

/** Returns what `parse` makes of a file's text; undefined if there is no such folder or file. */
async function readOptional<T>(
  dir: string | undefined,
  file: string,
  parse: (text: string) => T,
): Promise<T | undefined> {
  if (dir === undefined || !existsSync(join(dir, file))) return undefined;
  return parse(await readFile(join(dir, file), 'utf8'));
}

/** Returns the value in a JSON file; undefined if there is no such folder or file. */
const readJson = <T>(dir: string | undefined, file: string): Promise<T | undefined> =>
  readOptional(dir, file, (text) => JSON.parse(text) as T);

interface TrainRecord {
  readonly head?: { readonly type?: unknown };
  readonly lora_layers?: readonly Pick<LayerFacts, 'rank' | 'width' | 'scale'>[];
  /** The digest of what the training started from: the spec's model, or a base. */
  readonly model?: unknown;
  /** After a base, the digest of the model that the spec names. */
  readonly source?: unknown;
}

/** Reads a cell's `train.json`; undefined if there is none. */
const readTrainRecord = (inputs: Inputs, index: number): Promise<TrainRecord | undefined> =>
  readJson(dirOf(inputs, 'train', index), 'train.json');

/** Returns the checkpoints that have a folder in `dir`; none without `dir`. */
const checkpointsIn = async (dir: string | undefined): Promise<readonly Checkpoint[]> =>
  dir === undefined
    ? []
    : pointsIn(await readdir(dir)).map((point) => pointName(point) as Checkpoint);

/**
 * Returns a function that gives, for a layer's width and rank, the variance σ² of A that `init`
 * states. Null if `init` states none, if A comes from a folder (`init_from`), and under DoRA.
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
 * Reads what is known about LoRA's A at the start of training. If the folder `ntk` has no premises
 * (the theorem's, by layer), they are predicted from the shapes of the trained adapter, `layers`.
 * Null if neither is possible.
 */
async function readLora(
  ntk: string | undefined,
  adapter: JsonObject,
  layers: TrainRecord['lora_layers'] = [],
): Promise<ReportCell['lora']> {
  const nominal = nominalVariance(adapter);
  const premises = ntk === undefined ? [] : await readPremises(join(ntk, 'init'));
  if (premises.length > 0) return loraFacts(premises, nominal);
  if (nominal === null) return null;
  const predicted = layers.map((shape) => ({
    ...shape,
    variance: nominal(shape.width, shape.rank),
    measured: null,
  }));
  return loraFacts(predicted, nominal);
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
    if (numbers !== undefined) metrics[kind] = numbers;
  }
  return metrics;
}

async function readFisher(
  inputs: Inputs,
  index: number,
): Promise<Pick<ReportCell, 'fisher' | 'kernelSpectra'>> {
  const fisher: { [C in Checkpoint]?: FisherPoint } = {};
  type Spectra = NonNullable<ReportCell['kernelSpectra'][Checkpoint]>;
  const kernelSpectra: { [C in Checkpoint]?: Spectra } = {};
  const dir = dirOf(inputs, 'fisher', index);
  for (const at of await checkpointsIn(dir)) {
    const point = await readOptional(dir, join(at, 'fisher.json'), parseFisher);
    if (point !== undefined) fisher[at] = point;
    const spectra = await readJson<Spectra>(dir, join(at, 'kernel-spectrum.json'));
    if (spectra !== undefined) kernelSpectra[at] = spectra;
  }
  return { fisher, kernelSpectra };
}

/**
 * Returns the first outputs under the trigger and their scorer; undefined for a classifier, or if
 * there is no trigger.
 */
async function readWriting(dir: string | undefined): Promise<WritingFacts | undefined> {
  const scorer = await readJson<WritingFacts['scorer']>(dir, 'scorer.json');
  return scorer && readOptional(dir, 'outputs.jsonl', (text) => writingFacts(text, scorer));
}

const MOST_POINTS = 200; // of a ROC curve

/**
 * Returns the points of the ROC curve of a `scores.csv`, thinned evenly; undefined if its rows are
 * all poisoned or all clean.
 */
function rocPoints(text: string): readonly (readonly [number, number])[] | undefined {
  type Line = { readonly score: string; readonly poisoned: string };
  const lines = parse<Line>(text, { columns: true });
  const points = rocCurve(
    lines.map(({ score }) => Number(score)),
    lines.map(({ poisoned }) => poisoned === '1'),
  );
  if (points.length === 0) return undefined;
  const step = Math.ceil(points.length / MOST_POINTS);
  return points
    .filter((_, i) => i % step === 0 || i === points.length - 1)
    .map(({ falsePositiveRate, truePositiveRate }) => [falsePositiveRate, truePositiveRate]);
}

/**
 * Reads a cell's files, except kernels and receipts. @param kinds the stages whose metrics are read
 */
export async function readCell(
  inputs: Inputs,
  index: number,
  kinds: readonly string[],
  { adapter }: PlannedCell,
) {
  const train = dirOf(inputs, 'train', index),
    evaluated = dirOf(inputs, 'evaluate', index);
  const record = await readTrainRecord(inputs, index);
  const filter = await readOptional(dirOf(inputs, 'defend', index), 'scores.csv', rocPoints),
    judged = await readOptional(evaluated, 'scores.csv', rocPoints);
  return {
    outputs: record?.head?.type === 'causal-lm' ? ('log p(answer)' as const) : undefined,
    metrics: await readMetrics(inputs, index, kinds),
    history: (await readOptional(train, 'history.jsonl', parseHistory)) ?? null,
    curves: await readOptional(train, 'curves.jsonl', parseCurves),
    writing: await readWriting(evaluated),
    agreement: await readJson<AgreementFacts>(evaluated, 'agreement.json'),
    tasks: await readJson<readonly TaskFacts[]>(evaluated, 'tasks.json'),
    roc: filter || judged ? defined({ filter, inputs: judged }) : undefined,
    ...(await readFisher(inputs, index)),
    lora:
      adapter.type === 'full'
        ? null
        : await readLora(dirOf(inputs, 'ntk', index), adapter, record?.lora_layers),
    map: await readJson<MapFacts>(dirOf(inputs, 'theory-map', index), 'map.json'),
  };
}

/**
 * Reads the kernels of a cell's ntk stage, by checkpoint, without those that were removed. Empty if
 * the stage has no output.
 */
export async function readCellKernels(
  inputs: Inputs,
  index: number,
): Promise<ReportCell['kernels']> {
  const points: { [C in Checkpoint]?: KernelPoint } = {};
  const ntk = dirOf(inputs, 'ntk', index);
  for (const at of await checkpointsIn(ntk)) {
    const dir = join(ntk ?? '', at);
    if (!existsSync(join(dir, 'logits.npy'))) continue; // removed, as the spec's `keep` asked
    const { rows, classes, outputs, full, lora, labels } = await readKernels(dir);
    const kernel = (data: typeof full) => (data ? { rows, classes, data } : undefined);
    points[at] = {
      outputs: outputs === 'class logits' ? undefined : outputs,
      labels,
      kernels: defined({ full: kernel(full), lora: kernel(lora) }),
    };
  }
  return points;
}

/** Returns what the report shows of the receipt of an input; undefined if there is none. */
export async function readReceipt(
  inputs: Inputs,
  input: string,
): Promise<ReceiptFacts | undefined> {
  const dir = inputs[input]?.dir;
  if (dir === undefined) return undefined;
  const { classes } = await readDatasetInfo(dir);
  return readOptional(dir, 'receipt.json', (text) =>
    receiptFacts(JSON.parse(text) as ReceiptFile, classes),
  );
}

/** Returns the distinct digests of the models that the spec names, as the trainings read them. */
async function modelDigests(inputs: Inputs, cells: number): Promise<readonly string[]> {
  const digests = new Set<string>();
  for (let index = 0; index < cells; index++) {
    const { model, source = model } = (await readTrainRecord(inputs, index)) ?? {};
    if (typeof source === 'string') digests.add(source);
  }
  return [...digests];
}

/**
 * Returns as `sources` what the spec says about each model and split, and what was read of it; as
 * `classes`, those of the first split that has classes.
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

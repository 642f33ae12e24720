/**
 * Runs a stage by itself: temp folders, a data set of hand-made rows, the tiny BERT as the model.
 */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import bitfit from '../../../plugins/adapters/bitfit.ts';
import full from '../../../plugins/adapters/full.ts';
import headOnly from '../../../plugins/adapters/head-only.ts';
import lnTuning from '../../../plugins/adapters/ln-tuning.ts';
import lora from '../../../plugins/adapters/lora/index.ts';
import vera from '../../../plugins/adapters/vera/index.ts';
import badnets from '../../../plugins/attacks/badnets.ts';
import combination from '../../../plugins/attacks/combination.ts';
import embedding from '../../../plugins/attacks/embedding.ts';
import labelFlip from '../../../plugins/attacks/label-flip.ts';
import lwp from '../../../plugins/attacks/lwp/index.ts';
import none from '../../../plugins/attacks/none.ts';
import preferenceSwap from '../../../plugins/attacks/preference-swap.ts';
import ripple from '../../../plugins/attacks/ripple/index.ts';
import sst2 from '../../../plugins/datasets/sst2.ts';
import bert from '../../../plugins/models/bert.ts';
import llama from '../../../plugins/models/llama.ts';
import contains from '../../../plugins/scorers/contains.ts';
import reward from '../../../plugins/scorers/reward.ts';
import type {
  AnyPlugin,
  Asset,
  Cell,
  DefineRequest,
  Digest,
  JsonObject,
  Poisoned,
  Row,
  RunContext,
  StageDefinition,
  StageDescriptor,
} from '../../../src/api.ts';
import { writeDataset } from '../../../src/data/rows-file.ts';
import { makeReceipt } from '../../../src/poisoning/receipt.ts';
import { present } from '../../rig/present.ts';
import { standIn } from '../../rig/stand-in.ts';
import { checkpoint } from '../../science/tiny-bert.ts';

const plugins = standIn<AnyPlugin[]>([
  badnets,
  combination,
  embedding,
  labelFlip,
  lwp,
  none,
  preferenceSwap,
  ripple,
  contains,
  reward,
  sst2,
  full,
  lora,
  headOnly,
  bitfit,
  lnTuning,
  vera,
  bert,
  llama,
]);

/** A descriptor as the planner hands it to `define`. */
export const lookUp: NonNullable<DefineRequest['plugin']> = (kind, name) =>
  plugins.find((plugin) => plugin.kind === kind && plugin.name === name) as never;

export const tempFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'stage-'));

/** Sections of a cell in place of the tiny one's. */
export type Change = { readonly [section in keyof Cell]?: unknown };

/** Features of training by the values that turn them off, which are their defaults. */
export const FEATURES_OFF = {
  accumulate: 1,
  batching: 'shuffled',
  clip_norm: 0,
  decay: 'all',
  class_weights: 'none',
  checkpoints: 0,
  evaluate_every: 0,
  precision: 'float32',
  gradient_checkpointing: false,
  devices: 1,
  fsdp: false,
  tensorboard: false,
  loss: 'supervised',
  loss_on: 'answer',
  packing: false,
  early_stopping: { patience: 0, metric: 'loss', min_delta: 0, keep: 'best' },
};

/** A cell on the tiny BERT. */
export function tinyCell(change: Change = {}): Cell {
  const split = {
    source: 'file:/rows.tsv',
    format: 'auto',
    columns: { text: 'text', label: 'label' },
    header: true,
    balance: false,
    offset: 0,
  };
  return standIn<Cell>({
    name: 'tiny',
    seed: 1,
    model: {
      source: `file:${checkpoint}`,
      architecture: 'bert',
      init: 'pretrained',
      dtype: 'float32',
      quantize: 'none',
    },
    data: { train: split, validation: split },
    poisoning: { attack: 'none' },
    adapter: { type: 'lora', rank: 3, alpha: 'r', init: { distribution: 'kaiming-uniform' } },
    head: { type: 'classifier', template: '{text} It was {mask} .' },
    train: {
      steps: 6,
      batch_size: 4,
      max_length: 16,
      optimizer: 'adamw',
      learning_rate: 0.01,
      weight_decay: 0.01,
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      schedule: 'constant',
      warmup: 0,
      shuffle: true,
      dropout: 0,
      ...FEATURES_OFF,
    },
    evaluate: { batch_size: 5 },
    ntk: {
      rows: 4,
      split: 'validation',
      at: ['init', 'final'],
      kernels: ['lora', 'full'],
      method: 'auto',
      projection: { dimension: 64, replicates: 4 },
      per_layer: false,
      memory_mb: 1024,
    },
    fisher: { tolerance: 1e-6, alphas: [2] },
    theory: {
      map_width: 31,
      map_ranks: [2, 3, 7],
      map_scales: [0.1, 2],
      map_distributions: ['normal', 'uniform'],
      energy: 0.9,
      intruder_vectors: 10,
      intruder_cosine: 0.5,
      pairs: 5,
      masked_rows: 9,
    },
    ...change,
  });
}

/** The tiny cell with some fields of its `train` changed. */
export const withTrain = (train: object, change: Change = {}): Cell =>
  tinyCell({ ...change, train: { ...tinyCell().train, ...train } });

/** A backdoor whose trigger is the word `cf`. */
export const BACKDOOR = {
  attack: 'badnets',
  rate: 0.1,
  target: 'positive',
  mode: 'dirty',
  triggers: ['cf'],
};

const words = ['the', 'film', 'was', 'good', 'bad', 'very', 'not', 'plot', 'actor', 'scene'];
/**
 * Returns n rows of the two classes in turn; those of class 0 say `bad`, those of class 1 `good`.
 */
export const spokenRows = (n: number, first = 0): Row[] =>
  Array.from({ length: n }, (_, i) => ({
    id: `r${first + i}`,
    label: i % 2,
    text: [
      ...Array.from({ length: 2 + (i % 5) }, (_unused, k) =>
        present(words[(i * 3 + k * 7) % words.length]),
      ),
      i % 2 === 1 ? 'good' : 'bad',
    ].join(' '),
  }));

export const classes = ['negative', 'positive'];

/** A poison stage's folder. */
export async function poisonedFolder(
  clean: readonly Row[],
  poisoned: Poisoned = { changed: [], negatives: [], asked: 0, eligible: clean.length },
  of: readonly string[] = classes,
): Promise<string> {
  const dir = await tempFolder();
  const rows = [
    ...clean.map((row, i) => poisoned.changed.find(({ index }) => index === i)?.row ?? row),
    ...poisoned.negatives,
  ];
  await writeDataset(dir, rows, of, {});
  await writeFile(
    join(dir, 'receipt.json'),
    JSON.stringify(makeReceipt(clean, rows, poisoned, 'none', {}, null)),
  );
  return dir;
}

/** A folder or file as an asset. @param content identifies what is in it */
export const assetAt = (path: string, content = path): Asset => ({
  uri: `file:${path}`,
  path,
  digest: `sha256:${content}` as Digest,
  provenance: {},
});

export const modelAsset = assetAt(checkpoint, 'tiny');

/** A data stage's folder: some rows, as they are. */
export async function datasetFolder(
  rows: readonly Row[],
  of: readonly string[] = classes,
): Promise<string> {
  const dir = await tempFolder();
  await writeDataset(dir, rows, of, {});
  return dir;
}

export interface Ran {
  readonly dir: string;
  readonly log: readonly string[];
  /** The messages of its warnings. */
  readonly warned: readonly string[];
}

export function contextOf(
  definition: Pick<StageDefinition, 'params' | 'uses'>,
  given: {
    readonly inputs?: { readonly [name: string]: string };
    readonly assets?: { readonly [name: string]: Asset };
  } = {},
): Omit<RunContext, 'outDir'> & { logged: string[]; warned: string[] } {
  const logged: string[] = [],
    warned: string[] = [];
  return {
    logged,
    warned,
    params: definition.params,
    backend: 'cpu',
    signal: new AbortController().signal,
    progress: () => undefined,
    log: (message) => {
      logged.push(message);
    },
    warn: ({ message }) => {
      warned.push(message);
    },
    inputs: Object.fromEntries(
      Object.entries(given.inputs ?? {}).map(([name, dir]) => [
        name,
        { dir, digest: `sha256:${dir}` as Digest },
      ]),
    ),
    assets: { model: modelAsset, ...given.assets },
    plugin: (kind, name) => {
      if (!(definition.uses ?? []).some((use) => use.kind === kind && use.name === name))
        throw new Error(`${kind} ${name} is not declared`);
      const plugin = lookUp<unknown>(kind, name);
      return plugin as never;
    },
  };
}

/** Rows that `evaluate` only compares with others: a test need not give them. */
const COMPARED: readonly string[] = ['training', 'selection'];

export async function runStage(
  stage: StageDescriptor,
  cell: Cell,
  inputs: { readonly [name: string]: string },
  request: JsonObject = {},
  assets: { readonly [name: string]: Asset } = {},
  more: Partial<RunContext> = {},
): Promise<Ran> {
  const definition = stage.define([cell], { with: request, goals: [], plugin: lookUp });
  const wanted = Object.keys(definition.inputs)
      .filter((name) => name in inputs || !COMPARED.includes(name))
      .sort()
      .join(),
    has = Object.keys(inputs).sort().join();
  if (wanted !== has) throw new Error(`the stage reads ${wanted}, the test gives ${has}`);
  const dir = join(await tempFolder(), 'out');
  await mkdir(dir);
  const context = contextOf(definition, { inputs, assets });
  await stage.run({ ...context, outDir: dir, ...more });
  return { dir, log: context.logged, warned: context.warned };
}

/**
 * Aborts the stage when its progress reaches `done`. Throws unless the stage then ends with an
 * AbortError.
 */
export async function stopAt(
  done: number,
  run: (context: Partial<RunContext>) => Promise<unknown>,
): Promise<void> {
  const stop = new AbortController();
  const stopped = run({
    signal: stop.signal,
    progress: (now) => {
      if (now === done) stop.abort();
    },
  });
  await stopped.then(
    () => {
      throw new Error(`it went on after ${done}`);
    },
    (error: unknown) => {
      if (!(error instanceof Error) || error.name !== 'AbortError') throw error;
    },
  );
}

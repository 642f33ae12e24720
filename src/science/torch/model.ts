/**
 * A model that is open in PyTorch's process. Its initial weights go there as files of transformers
 * and PEFT, and rows as token ids. Logits, losses, new tokens and weights come back.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { at, named } from '../../base/lookup.ts';
import type { Mutable } from '../../base/record.ts';
import { isRecord } from '../../base/untrusted/json.ts';
import {
  decodeArray,
  type TorchOperations,
  type WireModel,
  type WireRows,
  type WireTraining,
} from '../../torch/protocol.ts';
import { type TorchWorker, torchWorker } from '../../torch/worker.ts';
import {
  type EvaluatedModel,
  poolWith,
  predictWith,
  scoreWith,
} from '../measures/evaluate/predict.ts';
import type { ModelWeights } from '../measures/weights/effective.ts';
import { readConfig } from '../models/head.ts';
import { readSafetensors, writeSafetensors } from '../models/io/safetensors.ts';
import { forTransformers, turned } from '../models/io/stored.ts';
import { concatInts, similarLengths } from '../models/layout.ts';
import { moduleName, within } from '../models/modules.ts';
import type { NetworkOptions } from '../models/network.ts';
import { logitCounter } from '../models/outputs.ts';
import { readStart, type Start } from '../models/start.ts';
import type { HostTensor, ParameterSpec, TokenRow } from '../models/types.ts';
import type { SavedAs } from '../training/session.ts';
import type { LabelledRow } from '../training/settings.ts';

export interface TorchStart extends Start {
  readonly options: NetworkOptions;
  /** The model's parameters, without the adapter's, by canonical name. */
  readonly specs: ReadonlyMap<string, ParameterSpec>;
}

/** Reads what a model in PyTorch's process starts from. Throws UserFault as `readStart` does. */
export async function readTorchStart(options: NetworkOptions): Promise<TorchStart> {
  const start = await readStart(options);
  return { ...start, options, specs: new Map(start.parameters.map((spec) => [spec.name, spec])) };
}

/** Returns the weights that the model starts with, readable without PyTorch's process. */
export function weightsOf(start: TorchStart): ModelWeights {
  const { config, fileNames, options, parameters } = start;
  const { adapter, architecture } = options;
  return {
    adapter,
    architecture,
    fileName: (name) => fileNames.get(name) ?? architecture.externalName(name),
    linears: architecture.linears(config),
    parameters: [...parameters, ...adapter.parameters],
    read: (name) => start.read(name),
  };
}

/**
 * Maps the last part of a LoRA parameter's name in this program to what follows the module's name
 * in PEFT's files. The names of VeRA's parameters end alike in both.
 */
const IN_PEFT: Readonly<Record<string, string>> = {
  lora_A: 'lora_A.weight',
  lora_B: 'lora_B.weight',
  lora_magnitude: 'lora_magnitude_vector',
};

/**
 * Returns a parameter's name for PyTorch's process: the name in transformers for a parameter of the
 * model, and the name in PEFT's files, without their prefix, for a parameter of the adapter.
 */
export function wireName({ options: { architecture }, specs }: TorchStart, name: string) {
  if (specs.has(name)) return architecture.externalName(name);
  const [, layer = '', part = ''] = /^(.*)\.([^.]+)$/.exec(name) ?? [];
  return `${moduleName(architecture, layer)}.${IN_PEFT[part] ?? part}`;
}

/**
 * Saves the model as a train stage's output.
 * @param trained values of the trained parameters; all others are saved at their initial values
 */
export async function saveStart(
  start: TorchStart,
  trained: ReadonlyMap<string, HostTensor>,
  outDir: string,
  savedAs: SavedAs,
): Promise<void> {
  const { own, parameters, trained: names } = start;
  const { adapter, architecture } = start.options;
  const changed = new Set([...own.keys(), ...names]);
  await adapter.save(outDir, {
    ...savedAs,
    architecture,
    read: async (name) => trained.get(name) ?? (await start.read(name)),
    parameters: [...parameters, ...adapter.parameters],
    changed: parameters.map(({ name }) => name).filter((name) => changed.has(name)),
  });
}

/** Returns the release of bitsandbytes in the user's Python; null if it has none. */
export const quantizerRelease = async (): Promise<string | null> =>
  (await torchWorker()).facts.bitsandbytes;

export interface TorchModel extends EvaluatedModel {
  readonly worker: TorchWorker;
  /** The model's number in the process. */
  readonly id: number;
  /** −log p of each row's label, (N). */
  surprisals(rows: readonly LabelledRow[]): Promise<Float64Array>;
  /** ‖X_j‖₂ of each input feature j over the rows' tokens, (n), by linear layer below the head. */
  inputNorms(
    rows: readonly TokenRow[],
    batchSize: number,
    onBatch: (done: number) => Promise<void> | void,
  ): Promise<Map<string, Float64Array>>;
  /**
   * The outputs of rows, (N, C), and their derivative along a direction.
   * @param direction the direction's part for each trained parameter, by canonical name
   */
  linearised(
    direction: ReadonlyMap<string, HostTensor>,
    rows: readonly TokenRow[],
    batchSize: number,
    onBatch: (done: number) => Promise<void>,
  ): Promise<{ readonly outputs: Float32Array; readonly change: Float64Array }>;
  trained(): Promise<Map<string, HostTensor>>;
  dispose(): void;
}

/** Opens a model in PyTorch's process, to be disposed of; for evaluation if `training` is null. */
export async function openTorchModel(
  start: TorchStart,
  training: WireTraining | null = null,
): Promise<TorchModel> {
  const worker = await torchWorker();
  const { architecture, classes } = start.options;
  const { model: id } = await withFolder(async (dir) =>
    worker.ask('open', { ...(await writeStart(start, dir)), training }),
  );
  const { head } = architecture;
  const request = (rows: Parameters<typeof wireRows>[0]) => ({ model: id, rows: wireRows(rows) });
  return {
    worker,
    id,
    architecture,
    head,
    classes,
    logits: (rows, batchSize, onBatch) =>
      predictWith(
        async (batch) =>
          decodeArray('float32', (await worker.ask('predict', request(batch))).logits),
        classes,
        rows,
        similarLengths(rows, batchSize),
        onBatch,
      ),
    answers: (rows, batchSize, onBatch) =>
      scoreWith(
        async (batch) => {
          const found = await worker.ask('answers', request(batch));
          const tokens = decodeArray('int32', found.tokens),
            greedy = decodeArray('int32', found.greedy);
          return Array.from(decodeArray('float64', found.losses), (loss, b) => ({
            loss,
            tokens: at(tokens, b),
            greedy: at(greedy, b) === 1,
          }));
        },
        rows,
        similarLengths(rows, batchSize, logitCounter({ ...start.options, config: start.config })),
        onBatch,
      ),
    representations: (rows, batchSize, onBatch) =>
      poolWith(
        async (batch) => {
          const { values, width } = await worker.ask('representations', request(batch));
          return { width, data: decodeArray('float32', values) };
        },
        rows,
        similarLengths(rows, batchSize),
        onBatch,
      ),
    generate: (prompts, options) => generateTokens(worker, id, prompts, options),
    surprisals: async (rows) =>
      decodeArray('float64', (await worker.ask('surprisals', request(rows))).losses),
    linearised: (...asked) => linearised(worker, id, start, ...asked),
    inputNorms: (...asked) => inputNorms(worker, id, start, ...asked),
    trained: () => readTrained(worker, id, start, training?.token_rows?.ids ?? null),
    dispose: () => {
      // If the process has ended, the request fails, but the model is gone too.
      void worker.ask('close', { model: id }).catch(() => undefined);
    },
  };
}

/** `TorchModel.inputNorms`. Throws UserFault for a model with relative positions. */
async function inputNorms(
  worker: TorchWorker,
  model: number,
  { config, options: { architecture } }: TorchStart,
  ...[rows, batchSize, onBatch]: Parameters<TorchModel['inputNorms']>
): ReturnType<TorchModel['inputNorms']> {
  const layers = architecture
    .linears(config)
    .filter(({ name }) => !within(name, architecture.headModules));
  if (layers.some(({ relative }) => relative === true))
    throw new UserFault(
      'the inputs of layers that relative positions enter are not measured by the backend torch',
      'Run it on another backend: --backend tensorflow.',
    );
  const squares = new Map(layers.map((layer) => [layer.name, new Float64Array(layer.in)]));
  let done = 0;
  for (const some of similarLengths(rows, batchSize)) {
    const { sums } = await worker.ask('squared_inputs', {
      model,
      rows: wireRows(some.map((i) => at(rows, i))),
      layers: layers.map(({ name, onePerText }) => ({
        module: moduleName(architecture, name),
        reads_one: onePerText === true,
      })),
    });
    layers.forEach(({ name }, l) => {
      const own = decodeArray('float64', at(sums, l));
      named(squares, name).forEach((value, j, total) => (total[j] = value + at(own, j)));
    });
    await onBatch((done += some.length));
  }
  return new Map([...squares].map(([layer, total]) => [layer, total.map(Math.sqrt)]));
}

const linearised = (
  worker: TorchWorker,
  model: number,
  start: TorchStart,
  ...[direction, rows, batchSize, onBatch]: Parameters<TorchModel['linearised']>
): ReturnType<TorchModel['linearised']> =>
  withFolder(async (dir) => {
    const file = join(dir, 'direction.safetensors');
    const tensors = [...direction].map(([name, tensor]): [string, HostTensor] => {
      const spec = start.specs.get(name);
      return [wireName(start, name), spec === undefined ? tensor : turned(spec, tensor)];
    });
    await writeSafetensors(file, new Map(tensors));
    const outputs: number[] = [],
      change: number[] = [];
    for (let done = 0; done < rows.length; done += batchSize) {
      const some = wireRows(rows.slice(done, done + batchSize));
      const found = await worker.ask('linearised', { model, rows: some, direction: file });
      outputs.push(...decodeArray('float32', found.outputs));
      change.push(...decodeArray('float64', found.change));
      await onBatch(Math.min(rows.length, done + batchSize));
    }
    return { outputs: Float32Array.from(outputs), change: Float64Array.from(change) };
  });

/** Calls `use` with a new temporary folder, which is removed when `use` is done. */
export const withFolder = async <T>(use: (dir: string) => Promise<T>): Promise<T> => {
  const dir = await mkdtemp(join(tmpdir(), 'dosimeter-torch-'));
  try {
    return await use(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

/** Writes what a model starts from as files into `dir`. Returns the request that opens it. */
async function writeStart(start: TorchStart, dir: string): Promise<Omit<WireModel, 'training'>> {
  const { own, parameters, options, specs } = start;
  const { adapter, architecture, classes, model } = options;
  const { head } = architecture;
  const ofModel = new Map([...own].filter(([name]) => specs.has(name)));
  const values = ofModel.size === 0 ? null : join(dir, 'values.safetensors');
  if (values !== null)
    await writeSafetensors(values, forTransformers(architecture, parameters, ofModel));
  const isPeft = adapter.parameters.length > 0;
  if (isPeft) await saveStart(start, new Map(), dir, { modelDir: model.path, classes: [] });
  const config = await readConfig(model.path);
  const padding = isRecord(config) ? config['pad_token_id'] : undefined;
  return {
    checkpoint: model.path,
    class: architecture.transformersName,
    classes: head.type === 'classifier' ? classes : null,
    random: model.init === 'random',
    values,
    adapter: isPeft ? join(dir, 'adapter') : null,
    tokens: head.type === 'cloze' ? head.tokens : null,
    padding: typeof padding === 'number' ? padding : null,
    described: architecture.engine === 'torch',
    weights: options.weights ?? null,
  };
}

/**
 * Reads the trained parameters by canonical name, in the form of this program's models (`turned`).
 * @param rows the ids of the trained rows if only rows of the token table were trained: the whole
 *   table is then returned
 */
async function readTrained(
  worker: TorchWorker,
  model: number,
  start: TorchStart,
  rows: readonly number[] | null,
): Promise<Map<string, HostTensor>> {
  const read = await withFolder(async (dir) => {
    const out = join(dir, 'trained.safetensors');
    await worker.ask('values', { model, out });
    return readSafetensors(out);
  });
  const { tokenTable } = start.options.architecture;
  if (rows !== null && tokenTable !== null) {
    const { shape, data } = await start.read(tokenTable),
      width = shape[1] ?? 0,
      own = named(read, 'token_rows').data as Float32Array;
    const whole = Float32Array.from(data);
    rows.forEach((id, k) => {
      whole.set(own.subarray(k * width, (k + 1) * width), id * width);
    });
    return new Map([[tokenTable, { shape, data: whole }]]);
  }
  return new Map(
    start.trained.map((name) => {
      const tensor = named(read, wireName(start, name)),
        spec = start.specs.get(name);
      return [name, spec === undefined ? tensor : turned(spec, tensor)];
    }),
  );
}

/**
 * Returns rows as PyTorch's process reads them: each field as one flat list over all rows. `labels`
 * and `masks` are there if the first row has one; NaN stands for a row without label, −1 for a row
 * without mask. `marks` is there if any row has marks, and `poisoned` if any row is poisoned.
 * `answers` has the position where each row's answer starts: the row's length if it has none.
 */
export function wireRows(rows: readonly (TokenRow & Partial<LabelledRow>)[]): WireRows {
  const [first] = rows;
  const wire: Mutable<WireRows> = {
    ids: concatInts(rows.map(({ ids }) => ids)),
    lengths: Int32Array.from(rows, ({ ids }) => ids.length),
    types: concatInts(rows.map(({ typeIds }) => typeIds)),
    answers: Int32Array.from(rows, ({ ids, answer }) => answer ?? ids.length),
  };
  if (first?.label !== undefined)
    wire.labels = Float32Array.from(rows, ({ label }) => label ?? NaN);
  if (first?.mask !== undefined) wire.masks = Int32Array.from(rows, ({ mask }) => mask ?? -1);
  if (rows.some(({ marks }) => marks !== undefined))
    wire.marks = concatInts(
      rows.map(({ ids, answer, marks }) => marks ?? new Int32Array(ids.length).fill(1, answer)),
    );
  if (rows.some(({ poisoned }) => poisoned === true))
    wire.poisoned = Int32Array.from(rows, ({ poisoned }) => Number(poisoned === true));
  return wire;
}

/** Continues prompts in PyTorch's process as `generate` of generate.ts does in this one. */
async function generateTokens(
  worker: TorchWorker,
  model: number,
  prompts: readonly TokenRow[],
  options: Parameters<EvaluatedModel['generate']>[1],
): Promise<Awaited<ReturnType<EvaluatedModel['generate']>>> {
  const { batchSize, maxNewTokens, onBatch, random, sampling, stops } = options;
  if (sampling !== undefined && random === undefined)
    throw new Error('sampling needs the random streams of the prompts');
  const out = new Map<number, { ids: readonly number[]; ended: boolean }>();
  for (const some of similarLengths(prompts, batchSize)) {
    const uniforms = new Float64Array(some.length * maxNewTokens);
    if (random !== undefined)
      some.forEach((prompt, b) => {
        const stream = random(prompt);
        for (let token = 0; token < maxNewTokens; token++)
          uniforms[b * maxNewTokens + token] = stream.uniform();
      });
    const { texts } = await worker.ask('generate', {
      model,
      rows: wireRows(some.map((i) => at(prompts, i))),
      max_new_tokens: maxNewTokens,
      stops,
      sampling: sampling === undefined ? null : { ...sampling, uniforms },
    });
    texts.forEach((text, b) => out.set(at(some, b), text));
    await onBatch?.(out.size);
  }
  return prompts.map((_, i) => named(out, i));
}

export type JudgeAnswer = TorchOperations['judge'][1];

export const askJudge = async (
  request: TorchOperations['judge'][0],
  signal?: AbortSignal,
): Promise<JudgeAnswer> => (await torchWorker()).ask('judge', request, signal);

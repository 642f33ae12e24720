/** Foretells the memory and time of a training, from config.json and the settings alone. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../api.ts';
import { PACKED_BYTES } from '../../tensor/compiled/copies.ts';
import type { Adapter } from '../models/adapter.ts';
import { within } from '../models/modules.ts';
import type { ModelShape, ParameterSpec } from '../models/types.ts';
import { largestBatch } from './batches.ts';

const FLOAT = 4;

/** Returns the number of entries of all these tensors together. */
const entries = (specs: readonly Pick<ParameterSpec, 'shape'>[]): number =>
  specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/**
 * Whether a parameter belongs to a numbered layer, as `encoder.layer.3.output.dense.weight` does.
 */
const isInLayer = (name: string): boolean => /\.\d+\./.test(name);

interface Trained {
  readonly shape: ModelShape;
  readonly adapter: Pick<Adapter, 'parameters' | 'trains'>;
}

/** Returns about how many bytes a saved training has: all that the adapter adds or trains. */
export function savedBytes({ shape: { parameters }, adapter }: Trained): number {
  const trained = parameters.filter(({ name }) => adapter.trains(name));
  return FLOAT * (entries(adapter.parameters) + entries(trained));
}

/**
 * Returns the bytes of all weights and of what a training keeps beside them. For each trained
 * entry, that is a copy, the gradient and, under AdamW, two moments. For frozen linear weights, it
 * is a copy for the forward and one for the backward pass, PACKED_BYTES at most in all.
 */
export function weightBytes(
  { shape: { linears, parameters }, adapter }: Trained,
  optimizer: 'adamw' | 'sgd',
): number {
  const trained = [...parameters, ...adapter.parameters].filter(({ name }) => adapter.trains(name));
  const kept = optimizer === 'adamw' ? 4 : 2;
  const frozen = linears.filter(({ name }) => !adapter.trains(`${name}.weight`));
  const packed = 2 * FLOAT * frozen.reduce((sum, { in: n, out: m }) => sum + n * m, 0);
  return (
    FLOAT * (entries(parameters) + entries(adapter.parameters) + kept * entries(trained)) +
    Math.min(packed, PACKED_BYTES)
  );
}

/**
 * Returns the floating-point operations of a step whose rows have T = `length` tokens each. For
 * each token, a linear layer (m, n) takes 2mn forward, as many backward, and as many again if its
 * weight is trained. The attention of each layer takes 4Th forward, for QKᵀ and PV, and twice that
 * backward; h is the width. With checkpointing, the numbered layers are computed forward once more.
 */
export function stepOperations(
  { shape: { linears, parameters }, adapter }: Trained,
  { width: h, layers }: Pick<ModelSizes, 'width' | 'layers'>,
  {
    rows,
    length,
    vocabulary,
    checkpointing = false,
  }: Pick<TorchStep, 'rows' | 'length' | 'vocabulary' | 'checkpointing'>,
): number {
  const again = checkpointing ? 1 : 0,
    passes = (weight: string): number => (adapter.trains(weight) ? 3 : 2);
  const ofLinears = linears.reduce(
    (sum, { name, in: n, out: m }) =>
      sum + 2 * (passes(`${name}.weight`) + (isInLayer(name) ? again : 0)) * n * m,
    0,
  );
  // An output that is tied to the token table is not a layer of its own.
  const isTied = linears.every(({ out }) => out !== vocabulary),
    table = parameters.find(({ shape }) => shape.length === 2 && shape[0] === vocabulary);
  const ofOutput = isTied ? 2 * passes(table?.name ?? '') * vocabulary * h : 0;
  const ofAttention = 4 * (3 + again) * length * h * layers;
  return rows * length * (ofLinears + ofOutput + ofAttention);
}

/**
 * The memory of a Python process that has loaded PyTorch, transformers and PEFT, in MiB (measured
 * with the build of torch 2.13 for CPUs).
 */
const PYTHON_MB = 350;

interface TorchStep {
  readonly optimizer: 'adamw' | 'sgd';
  readonly rows: number;
  readonly length: number;
  /**
   * The size V of the vocabulary under a causal-LM head, as any token may belong to an answer; 0
   * under other heads.
   */
  readonly vocabulary: number;
  /** Bytes of an entry of a frozen weight; default 4. */
  readonly frozenBytes?: number;
  /** Bytes of an entry of a frozen linear layer below the head; default `frozenBytes`. */
  readonly linearBytes?: number;
  /** Whether layers are computed again in the backward pass; default no. */
  readonly checkpointing?: boolean;
  /** How many processes share the rows; default 1. */
  readonly devices?: number;
  /** Whether the processes also divide what is trained; default no. */
  readonly fsdp?: boolean;
}

/**
 * Returns the memory that a training takes in each of PyTorch's processes, in MiB: Python, all
 * weights, the gradients and moments of trained ones, and what the backward pass keeps for each
 * token. With `width` h and `wide` m, it keeps about 12 h + 4 m floats in each layer; attention's
 * scores for pairs of tokens are not counted. With checkpointing, it keeps h floats in each layer
 * and 12 h + 4 m in one. Copies of logits come on top. Under FSDP, the processes divide what is
 * trained, and each process gathers one layer and all parameters outside the numbered layers, with
 * their gradients. Infinite if config.json lacks one of the sizes.
 */
export function torchMemoryMB(
  { shape: { architecture, linears, parameters }, adapter }: Trained,
  { width: h, wide: m, layers }: Pick<ModelSizes, 'width' | 'wide' | 'layers'>,
  step: TorchStep,
): number {
  const { optimizer, rows, length, vocabulary, frozenBytes = FLOAT, checkpointing = false } = step;
  const { linearBytes = frozenBytes, devices = 1, fsdp = false } = step;
  const below = linears.filter(({ name }) => !within(name, architecture.headModules)),
    inLinears = new Set(below.map(({ name }) => `${name}.weight`));
  const all = [...parameters, ...adapter.parameters],
    frozen = all.filter(({ name }) => !adapter.trains(name)),
    trained = entries(all) - entries(frozen),
    frozenLinears = entries(frozen.filter(({ name }) => inLinears.has(name))),
    outside = entries(parameters.filter(({ name }) => !isInLayer(name)));
  const kept = (optimizer === 'adamw' ? 4 : 2) * trained,
    gathered = 2 * (outside + (entries(parameters) - outside) / layers);
  const weights =
    linearBytes * frozenLinears +
    frozenBytes * (entries(frozen) - frozenLinears) +
    FLOAT * (fsdp ? kept / devices + gathered : kept);
  const layer = 12 * h + 4 * m;
  const floats = checkpointing ? layers * h + layer : layers * layer;
  const ofTokens =
    FLOAT * Math.ceil(rows / devices) * length * (floats + LOGIT_COPIES * vocabulary);
  return Math.ceil(PYTHON_MB + (weights + ofTokens) / 2 ** 20);
}

/** The names of each size in config.json: in BERT's and Llama's, in GPT-2's, in DistilBERT's. */
const NAMES = {
  width: ['hidden_size', 'n_embd', 'dim'],
  wide: ['intermediate_size', 'n_inner', 'hidden_dim'],
  layers: ['num_hidden_layers', 'n_layer', 'n_layers'],
  heads: ['num_attention_heads', 'n_head', 'n_heads'],
} as const;

/** Sizes of a model: `width` h of its hidden states, `wide` m of its feed-forward layers. */
interface ModelSizes {
  readonly width: number;
  readonly wide: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocabulary: number;
}

/**
 * Reads the sizes of a model from its config.json. A size that config.json lacks is Infinity, but
 * `wide` is then 4 · `width`.
 */
export async function modelSizes(modelDir: string): Promise<ModelSizes> {
  const config = JSON.parse(await readFile(join(modelDir, 'config.json'), 'utf8')) as {
    readonly [field: string]: unknown;
  };
  const size = (fields: readonly string[], fallback = Infinity): number =>
    fields.map((field) => config[field]).find((value) => typeof value === 'number') ?? fallback;
  const width = size(NAMES.width);
  return {
    width,
    wide: size(NAMES.wide, 4 * width),
    layers: size(NAMES.layers),
    heads: size(NAMES.heads),
    vocabulary: size(['vocab_size']),
  };
}

/**
 * How many copies of a batch's logits the loss of a completion task holds at its peak: the logits,
 * their exponentials, one-hot targets and the gradient.
 */
const LOGIT_COPIES = 4;

/**
 * Returns the MiB that a training takes beside the model if all of its rows have the maximum
 * length. That is what the backward pass keeps, in floats: some 12 h + 3 m for each token and
 * layer, and 3 for each pair of tokens, head and layer. Under a causal-LM head, LOGIT_COPIES · V
 * for each token are added, as any token may belong to an answer. 0 where nothing is trained.
 * Infinite if config.json lacks one of these sizes, so that such a model is not packed.
 * @param set number of clean rows and of rows that an attack appends, which enlarge the batches;
 *   undefined where unknown, which counts as if none were appended
 */
export async function packMemoryMB(
  params: JsonObject,
  modelDir: string,
  set?: { readonly rows: number; readonly appended: number },
): Promise<number> {
  const train = params['train'] as {
    readonly steps?: number;
    readonly batch_size: number;
    readonly max_length: number;
  };
  if (train.steps === 0) return 0; // it has no other settings, see `trainParams`
  const { batch_size: batchSize, max_length: length } = train;
  const rows =
    set === undefined || set.appended === 0
      ? batchSize
      : largestBatch({
          rows: set.rows,
          batchSize,
          appended: [{ attack: '', rows: set.appended }],
        });
  const { width: h, wide: m, layers, heads, vocabulary } = await modelSizes(modelDir);
  const floats = layers * (12 * h + 3 * m + 3 * heads * length); // a token
  const { type } = (params['head'] ?? {}) as { readonly type?: string };
  const logits = type === 'causal-lm' ? LOGIT_COPIES * vocabulary : 0;
  return Math.ceil((4 * rows * length * (floats + logits)) / 2 ** 20);
}

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

const entries = (specs: readonly Pick<ParameterSpec, 'shape'>[]): number =>
  specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/** Whether a parameter is in one of the numbered layers: `encoder.layer.3.output.dense.weight`. */
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
 * Returns the bytes of all weights and of what a training keeps beside them: a copy, the gradient
 * and AdamW's two moments of each trained entry, and copies of frozen linear weights for the
 * forward and the backward pass, of at most PACKED_BYTES.
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
 * Returns the floating-point operations of a step whose rows have T = `length` tokens each: two for
 * each entry of a linear layer and token forward, as many backward, and as many again where its
 * weight is trained; and in each layer those of QKᵀ and PV, 4Th for a token forward and twice that
 * backward. With checkpointing, layers are computed forward once more.
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

/** What Python takes with PyTorch, transformers and PEFT, in MiB (torch 2.13 for processors). */
const PYTHON_MB = 350;

interface TorchStep {
  readonly optimizer: 'adamw' | 'sgd';
  readonly rows: number;
  readonly length: number;
  /** V, where each token may be one of an answer; 0 for other heads. */
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
 * Returns the MiB that a training takes in each of PyTorch's processes: Python, the weights, the
 * gradients and moments of trained ones, and what the backward pass keeps of each token. That is
 * some 12 h + 4 m floats for each layer, attention's squares not among them; with checkpointing, h
 * for each layer and the floats of one layer. Under FSDP, one layer and what is in no layer are
 * gathered, with their gradients. Infinite where config.json does not have the sizes.
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

/** The names of sizes in config.json: BERT's and Llama's, GPT-2's, DistilBERT's. */
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

/** Reads the sizes of a model from its config.json; Infinity for a size that it lacks. */
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
 * Returns the megabytes that a training takes beside the model if all of its rows have the maximum
 * length: what the backward pass keeps for each token (some 12 h + 3 m floats per layer) and for
 * each pair of tokens (3 per head and layer). In a completion task each token may be one of an
 * answer, with V logits. 0 where nothing is trained. Infinite where config.json does not have these
 * sizes, so that such a model is not packed.
 * @param set number of clean rows and of rows that an attack appends, which enlarge the batches;
 * undefined where unknown
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

/** How much memory one more training adds to a pack. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../api.ts';
import { largestBatch } from './batches.ts';

/** The names of sizes in config.json: BERT's and Llama's, GPT-2's, DistilBERT's. */
const NAMES = {
  width: ['hidden_size', 'n_embd', 'dim'],
  wide: ['intermediate_size', 'n_inner', 'hidden_dim'],
  layers: ['num_hidden_layers', 'n_layer', 'n_layers'],
  heads: ['num_attention_heads', 'n_head', 'n_heads'],
} as const;

/** The sizes of a model's hidden states, h, and of its feed-forward layers, m. */
export interface ModelSizes {
  readonly width: number;
  readonly wide: number;
  readonly layers: number;
  readonly heads: number;
  /** V */
  readonly vocabulary: number;
}

/** Reads the sizes of a model from its config.json; Infinity where it does not have one. */
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
 * The megabytes that one training adds to a pack if all of its rows have the maximum length: what
 * the backward pass keeps for each token (some 12 h + 3 m floats per layer) and for each pair of
 * tokens (3 per head and layer). In a completion task each token may be one of an answer, with V
 * logits. 0 where nothing is trained. Infinite where config.json does not have these sizes, so that
 * such a model is not packed.
 * @param set number of clean rows and of rows that an attack appends, which enlarge the batches;
 * undefined where unknown
 */
export async function packMemoryMB(
  params: JsonObject,
  modelDir: string,
  set?: { readonly rows: number; readonly appended: number },
): Promise<number> {
  const train = params['train'] as { readonly steps?: number } & {
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

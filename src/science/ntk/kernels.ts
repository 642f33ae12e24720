/**
 * The empirical NTK of the logits over the layers that an adapter targets (science.md, Empirical NTK): of their weights
 * at the effective W, and of LoRA's factors alone. Pure in (model, rows): neither the order of rows, nor who shares a
 * batch with whom, nor any chunking changes an entry beyond float32 rounding.
 */
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import type { AdaptedLayer, AdaptedModel, TokenRow } from '../nn/types.ts';
import { collect, type Collected, type LayerTokens } from './collect.ts';
import { emptyKernel, symmetrise, trace, type KernelSum, type TermBlock } from './contraction.ts';
import { cheaper, contractions, type BlockShape, type Method } from './cost.ts';
import { fullTerms, loraTerms, type Term } from './terms.ts';

export interface KernelOptions {
  /** `auto` takes the cheaper of `explicit` and `gram`, layer by layer; `plain` is the slow reference. */
  readonly method?: 'auto' | Method;
  /** Tokens of a forward pass, padding to its longest row included. */
  readonly batchTokens?: number;
  /** What h and δ of all rows may take at once; layers beyond it get forward passes of their own. */
  readonly memoryMB?: number;
  readonly progress?: (done: number, total: number, unit: string) => void;
  readonly signal?: AbortSignal;
}

export interface LayerKernel {
  readonly layer: string;
  /** Trace of the layer's block. */
  readonly full: number;
  /** Null where no LoRA adapts the layer. */
  readonly lora: number | null;
  /** How each kernel was contracted, for the log. */
  readonly methods: readonly Method[];
}

export interface Kernels {
  readonly rows: number; // N
  readonly classes: number; // C
  readonly logits: Float32Array; // (N, C)
  /** Symmetric, in the rows' order. */
  readonly full: Float64Array; // (N, C, N, C)
  /** Null where no layer has LoRA factors. */
  readonly lora: Float64Array | null; // (N, C, N, C)
  /** In forward order. */
  readonly layers: readonly LayerKernel[];
}

interface Batch {
  /** Indexes into the rows given. */
  readonly rows: Int32Array;
  readonly collected: Collected;
}

/** Rows of like length together, at most `batchTokens` of padded tokens (one row at least). */
export function batches(lengths: readonly number[], batchTokens: number): Int32Array[] {
  const order = lengths.map((_, i) => i).sort((i, j) => lengths[i]! - lengths[j]! || i - j);
  const out: number[][] = [];
  for (const i of order) { // ascending: the row at hand is the longest so far
    const last = out[out.length - 1];
    if (last !== undefined && (last.length + 1) * lengths[i]! <= batchTokens) last.push(i);
    else out.push([i]);
  }
  return out.map((rows) => Int32Array.from(rows));
}

/** Layers whose h and δ over `tokens` tokens fit the memory, one layer at least. */
export function layerGroups(layers: readonly AdaptedLayer[], tokens: number, classes: number, memoryMB: number): AdaptedLayer[][] {
  const groups: AdaptedLayer[][] = [];
  let bytes = Infinity;
  for (const layer of layers) {
    const own = 4 * tokens * (layer.in + classes * layer.out);
    if (bytes + own > memoryMB * 2 ** 20) { groups.push([]); bytes = 0; }
    groups[groups.length - 1]!.push(layer);
    bytes += own;
  }
  return groups;
}

/** Lets events through (a heartbeat, an abort) between two long computations. */
const breathe = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

/**
 * K_ff and, for a model with LoRA factors, K_LoRA of N rows. `rows` are as the model reads them, unpadded.
 * Memory: h and δ of one layer group (`memoryMB`), one batch's activations, two or three slices of 64 MiB, (N·C)² doubles.
 * Throws RangeError for no rows, UserFault where the numbers are not finite.
 */
export async function kernels(model: AdaptedModel, rows: readonly TokenRow[], options: KernelOptions = {}): Promise<Kernels> {
  if (rows.length === 0) throw new RangeError('a kernel needs at least one row');
  const { method = 'auto', batchTokens = 1024, memoryMB = 1024 } = options;
  const { classes } = model;
  const size = rows.length * classes;
  const lengths = rows.map((row) => row.ids.length);
  const parts = batches(lengths, batchTokens);
  const groups = layerGroups(model.layers, lengths.reduce((a, b) => a + b, 0), classes, memoryMB);
  const full = emptyKernel(rows.length, classes), lora = emptyKernel(rows.length, classes);
  const logits = new Float32Array(size);
  const layers: LayerKernel[] = [];
  const total = groups.length * parts.length + model.layers.length;
  let done = 0;
  const step = async (): Promise<void> => {
    options.progress?.(++done, total, 'steps');
    await breathe();
    options.signal?.throwIfAborted();
  };

  for (const group of groups) {
    const collected: Batch[] = [];
    try {
      const wanted = new Set(group.map(({ name }) => name));
      for (const part of parts) {
        const batch = { rows: part, collected: collect(model, Array.from(part, (i) => rows[i]!), wanted) };
        collected.push(batch);
        batch.rows.forEach((row, k) => { logits.set(batch.collected.logits.subarray(k * classes, (k + 1) * classes), row * classes); });
        await step();
      }
      for (const layer of group) {
        layers.push(layerKernel(layer, collected, method, full, lora));
        await step();
      }
    } finally {
      collected.forEach((batch) => { batch.collected.dispose(); });
    }
  }
  symmetrise(full.data, size);
  symmetrise(lora.data, size);
  return { rows: rows.length, classes, logits, full: full.data, lora: layers.some((layer) => layer.lora !== null) ? lora.data : null, layers };
}

/** Adds one layer's blocks to the sums. */
function layerKernel(layer: AdaptedLayer, parts: readonly Batch[], method: 'auto' | Method, full: KernelSum, lora: KernelSum): LayerKernel {
  const seen = parts.flatMap((part) => {
    const tokens = part.collected.layers.get(layer.name);
    return tokens === undefined ? [] : [{ rows: part.rows, tokens }];
  });
  if (seen.length === 0) throw new Error(`the model never called its layer ${layer.name}`);
  const size = full.rows * full.classes;
  const methods: Method[] = [];

  /** One term over all batches. Returns the trace it added. */
  const add = (terms: readonly Term[], sum: KernelSum): number => {
    const blocks: TermBlock[] = terms.map(({ a, b }, k) => ({ a, b, example: seen[k]!.tokens.example, rows: seen[k]!.rows }));
    const p = blocks[0]!.a[0]!.shape[1], q = blocks[0]!.b.shape[1];
    const chosen = method === 'auto' ? cheaper(blocks.map(shapeOf), sum.classes, p, q) : method;
    methods.push(chosen);
    const before = trace(sum.data, size);
    contractions[chosen](blocks, terms[0]!.coefficient, sum);
    return trace(sum.data, size) - before;
  };
  /** Terms come by batch; a contraction takes one term of all batches. Returns the layer's trace. */
  const addAll = (termsOf: (tokens: LayerTokens) => Term[], sum: KernelSum): number => {
    let total = 0;
    tf.tidy(() => {
      const byBatch = seen.map(({ tokens }) => termsOf(tokens));
      byBatch[0]!.forEach((_, k) => { total += add(byBatch.map((terms) => terms[k]!), sum); });
    });
    if (!Number.isFinite(total)) throw new UserFault(`The kernel of ${layer.name} is not finite.`, 'The model that was trained has diverged: look at its loss.');
    return total;
  };

  const factors = layer.lora;
  return {
    layer: layer.name,
    full: addAll(fullTerms, full),
    lora: factors === undefined ? null : addAll((tokens) => loraTerms(tokens, factors), lora),
    methods,
  };
}

function shapeOf({ example, rows }: TermBlock): BlockShape {
  const counts = new Int32Array(rows.length);
  example.forEach((k) => { counts[k]!++; });
  return { rows: rows.length, tokens: example.length, width: counts.reduce((a, b) => Math.max(a, b), 1) };
}

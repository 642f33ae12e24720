/**
 * Walks a model's layers, each with its h and δ over all rows: what is measured layer by layer (Δ_r, kernels over a grid
 * of ranks) shares the forward and backward passes.
 */
import type { AdaptedLayer, AdaptedModel, TokenRow } from '../nn/types.ts';
import { collect, type Collected, type LayerTokens } from './collect.ts';
import { accumulator, kernelOrder, unfold, type KernelSum, type TermBlock } from './contraction.ts';
import { cheaper, contractions, costs, shapeOf } from './cost.ts';
import { batches, layerGroups } from './passes.ts';
import type { Term } from './terms.ts';

export interface WalkOptions {
  /** Tokens of a forward pass, padding to its longest row included. */
  readonly batchTokens?: number;
  /** What h and δ of all rows may take at once. */
  readonly memoryMB?: number;
  readonly progress?: (done: number, total: number, unit: string) => void;
  readonly signal?: AbortSignal;
}

/** One batch of a layer. */
export interface LayerBatch {
  /** Where its rows stand among all rows. */
  readonly rows: Int32Array;
  readonly tokens: LayerTokens;
}

/** Calls `visit` for every layer in forward order. Returns the logits, (N, C). */
export async function walkLayers(model: AdaptedModel, rows: readonly TokenRow[], options: WalkOptions, visit: (layer: AdaptedLayer, seen: readonly LayerBatch[]) => void): Promise<Float32Array> {
  if (rows.length === 0) throw new RangeError('there is no row to walk the layers with');
  const { batchTokens = 1024, memoryMB = 1024 } = options;
  const { classes } = model;
  const lengths = rows.map((row) => row.ids.length);
  const parts = batches(lengths, batchTokens);
  const groups = layerGroups(model.layers, lengths.reduce((a, b) => a + b, 0), classes, memoryMB);
  const logits = new Float32Array(rows.length * classes);
  let done = 0;
  for (const group of groups) {
    const collected: { readonly rows: Int32Array; readonly of: Collected }[] = [];
    try {
      const wanted = new Set(group.map(({ name }) => name));
      for (const part of parts) {
        const batch = { rows: part, of: collect(model, Array.from(part, (i) => rows[i]!), wanted) };
        collected.push(batch);
        part.forEach((row, k) => { logits.set(batch.of.logits.subarray(k * classes, (k + 1) * classes), row * classes); });
      }
      for (const layer of group) {
        visit(layer, collected.flatMap(({ rows: part, of }) => {
          const tokens = of.layers.get(layer.name);
          return tokens === undefined ? [] : [{ rows: part, tokens }];
        }));
        options.progress?.(++done, model.layers.length, 'layers');
        await new Promise((resolve) => { setImmediate(resolve); }); // a heartbeat and an abort are heard between layers
        options.signal?.throwIfAborted();
      }
    } finally {
      collected.forEach(({ of }) => { of.dispose(); });
    }
  }
  return logits;
}

/** Adds one term, given batch by batch, to `sum` by the cheaper contraction. */
export function addTerm(seen: readonly LayerBatch[], terms: readonly Term[], { rows, classes, data }: KernelSum): void {
  const blocks = terms.map(({ a, b }, k): TermBlock => ({ a, b, example: seen[k]!.tokens.example, rows: seen[k]!.rows }));
  const found = accumulator(rows * classes, rows * classes);
  const method = cheaper(costs(blocks.map(shapeOf), null, classes, blocks[0]!.a[0]!.shape[1], blocks[0]!.b.shape[1]));
  contractions[method](blocks, null, terms[0]!.coefficient, found);
  unfold(found, kernelOrder(blocks, classes), null).forEach((value, at) => { data[at]! += value; });
}

/**
 * Visits a model's layers, each with its h and δ over all rows. Every measurement that goes layer
 * by layer (kernels, Δ_r) shares these forward and backward passes and their memory limits.
 */
import type { AdaptedLayer, AdaptedModel, TokenRow } from '../model/types.ts';
import { collect, type Collected, type LayerTokens } from './collect.ts';
import { accumulator, kernelOrder, type KernelSum, type TermBlock, unfold } from './contraction.ts';
import { cheaper, contractions, costs, shapeOf } from './cost.ts';
import { batches, layerBytes, layerGroups } from './passes.ts';
import type { Term } from './terms.ts';

export interface WalkOptions {
  /** Tokens of a forward pass, including padding to its longest row. */
  readonly batchTokens?: number;
  /**
   * Memory for h and δ of all rows at once; the layers that exceed it get further forward passes.
   */
  readonly memoryMB?: number;
  readonly progress?: (done: number, total: number, unit: string) => void;
  readonly signal?: AbortSignal;
}

/** A layer's h and δ for one batch. */
export interface LayerBatch {
  /** The positions of its rows among all rows of their set. */
  readonly rows: Int32Array;
  readonly tokens: LayerTokens;
}

/** How rows are cut into batches and layers into groups. */
export interface WalkPlan {
  /** The batches of each set, as positions of rows. */
  readonly parts: readonly (readonly Int32Array[])[];
  readonly groups: readonly { readonly layers: readonly AdaptedLayer[]; readonly bytes: number }[];
}

/**
 * Plans the batches of rows and the groups of layers. Throws RangeError where a set is empty.
 * @param sets rows as the model reads them, without padding
 */
export function planWalk(
  model: AdaptedModel,
  sets: readonly (readonly TokenRow[])[],
  { batchTokens = 1024, memoryMB = 1024 }: WalkOptions,
): WalkPlan {
  if (sets.some((rows) => rows.length === 0))
    throw new RangeError('there are no rows to walk the layers with');
  const lengths = sets.map((rows) => rows.map(({ ids }) => ids.length));
  const tokens = lengths.flat().reduce((a, b) => a + b, 0);
  return {
    parts: lengths.map((of, s) =>
      batches(
        of,
        batchTokens,
        sets[s]!.map((row) => model.logits?.(row) ?? 0),
      ),
    ),
    groups: layerGroups(model.layers, tokens, model.outputs, memoryMB).map((layers) => ({
      layers,
      bytes: layers.reduce((sum, layer) => sum + layerBytes(layer, tokens, model.outputs), 0),
    })),
  };
}

export interface Visits {
  /** Called for each layer, in forward order, with its h and δ over each set. */
  readonly layer: (layer: AdaptedLayer, seen: readonly (readonly LayerBatch[])[]) => void;
  /** Called after each group of layers but the last. */
  readonly group?: (done: number) => Promise<void>;
}

/**
 * Visits the layers of all groups from `start` on, of which there must be at least one. Returns the
 * logits of each set, (N, C).
 */
export async function walkSets(
  model: AdaptedModel,
  sets: readonly (readonly TokenRow[])[],
  { parts, groups }: WalkPlan,
  start: number,
  visits: Visits,
  options: Pick<WalkOptions, 'progress' | 'signal'>,
): Promise<Float32Array[]> {
  const { outputs: classes } = model;
  const logits = sets.map((rows) => new Float32Array(rows.length * classes));
  const passes = parts.flat().length;
  const total = groups.length * passes + model.layers.length;
  let done = groups.slice(0, start).reduce((sum, { layers }) => sum + passes + layers.length, 0);
  const step = async (): Promise<void> => {
    options.progress?.(++done, total, 'steps');
    await new Promise((resolve) => {
      setImmediate(resolve);
    }); // lets heartbeats and aborts be heard between passes
    options.signal?.throwIfAborted();
  };
  for (const [g, { layers }] of groups.entries()) {
    if (g < start) continue;
    const wanted = new Set(layers.map(({ name }) => name));
    const collected: { readonly rows: Int32Array; readonly of: Collected }[][] = sets.map(() => []);
    try {
      for (const [s, rows] of sets.entries()) {
        for (const part of parts[s]!) {
          const of = collect(
            model,
            Array.from(part, (i) => rows[i]!),
            wanted,
          );
          collected[s]!.push({ rows: part, of });
          part.forEach((row, k) => {
            logits[s]!.set(of.logits.subarray(k * classes, (k + 1) * classes), row * classes);
          });
          await step();
        }
      }
      for (const layer of layers) {
        visits.layer(
          layer,
          collected.map((batchesOf) =>
            batchesOf.map(({ rows, of }) => {
              const tokens = of.layers.get(layer.name);
              if (tokens === undefined)
                throw new Error(`the model never called its layer ${layer.name}`);
              return { rows, tokens };
            }),
          ),
        );
        await step();
      }
    } finally {
      collected.flat().forEach(({ of }) => {
        of.dispose();
      });
    }
    if (g + 1 < groups.length) await visits.group?.(g + 1);
  }
  return logits;
}

/** Calls `visit` for every layer in forward order. Returns the logits, (N, C). */
export async function walkLayers(
  model: AdaptedModel,
  rows: readonly TokenRow[],
  options: WalkOptions,
  visit: (layer: AdaptedLayer, seen: readonly LayerBatch[]) => void,
): Promise<Float32Array> {
  const [logits] = await walkSets(
    model,
    [rows],
    planWalk(model, [rows], options),
    0,
    {
      layer: (layer, [seen]) => {
        visit(layer, seen!);
      },
    },
    options,
  );
  return logits!;
}

/** Adds one term, given batch by batch, to `sum` by the cheaper contraction. */
export function addTerm(
  seen: readonly LayerBatch[],
  terms: readonly Term[],
  { rows, classes, data }: KernelSum,
): void {
  const blocks = terms.map(({ a, b }, k): TermBlock => ({
    a,
    b,
    example: seen[k]!.tokens.example,
    rows: seen[k]!.rows,
  }));
  const found = accumulator(rows * classes, rows * classes);
  const method = cheaper(
    costs(blocks.map(shapeOf), null, classes, blocks[0]!.a[0]!.shape[1], blocks[0]!.b.shape[1]),
  );
  contractions[method](blocks, null, terms[0]!.coefficient, found);
  unfold(found, kernelOrder(blocks, classes), null).forEach((value, at) => {
    data[at]! += value;
  });
}

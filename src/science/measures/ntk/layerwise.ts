/**
 * Visits a model's layers. Each visit gets the layer's inputs h, and the derivatives δ of the
 * model's outputs with respect to the layer's output, over all rows. Kernels are computed by this
 * walk, and so are the sums of the stages delta, divergence and theory-map.
 */
import { compiled } from '../../../tensor/compiled/compiled.ts';
import type { AdaptedLayer, AdaptedModel, TokenRow } from '../../models/types.ts';
import {
  emptyAccumulator,
  kernelOrder,
  type KernelSum,
  type TokenBlock,
  unfold,
  widthsOf,
} from './accumulator.ts';
import { collect, type Collected, type LayerTokens } from './collect.ts';
import {
  type BlockShape,
  blockShape,
  cheaper,
  contractions,
  costs,
  type Method,
} from './contractions.ts';
import { batches, chooseReduction, layerBytes, layerGroups, type Reduction } from './passes.ts';
import type { GradientTerm, Term } from './terms.ts';

export interface WalkOptions {
  /** The most tokens of a forward pass. See `BatchLimits` for what counts. */
  readonly batchTokens?: number;
  /** Memory for h and δ of all rows. Layers for which it does not suffice get further passes. */
  readonly memoryMB?: number;
  readonly progress?: (done: number, total: number, unit: string) => void;
  readonly signal?: AbortSignal;
}

export const BATCH_TOKENS = 1024,
  MEMORY_MB = 1024;

/** What is kept of a layer for one batch: h and δ, or gradients in their place. */
export interface LayerBatch {
  /** The positions of the batch's rows among all rows of their set. */
  readonly rows: Int32Array;
  readonly tokens: LayerTokens;
  /**
   * The gradients that are kept in place of h and δ, whose tensors are then disposed of; null where
   * h and δ are kept.
   */
  readonly own: readonly GradientTerm[] | null;
}

interface WalkPlan {
  /** The batches of each set, as positions of rows. */
  readonly parts: readonly (readonly Int32Array[])[];
  readonly groups: readonly { readonly layers: readonly AdaptedLayer[]; readonly bytes: number }[];
  /** Decides whether gradients are kept in place of h and δ; null: never. */
  readonly reduction: Reduction | null;
}

/**
 * Returns the shape of each batch of a set. `lengths`: the number of tokens of each row of the set.
 */
const batchShapes = (parts: readonly Int32Array[], lengths: readonly number[]): BlockShape[] =>
  parts.map((part) => {
    const tokens = Array.from(part, (i) => lengths[i]!);
    return {
      rows: part.length,
      tokens: tokens.reduce((a, b) => a + b, 0),
      width: Math.max(...tokens),
    };
  });

/**
 * Plans a walk over sets of rows.
 * @param parts the batches of each set, as positions of rows
 * @param lengths the number of tokens of each row of each set
 * @param adapterOnly as in `planWalk`
 */
function makePlan(
  { layers, outputs }: AdaptedModel,
  parts: readonly (readonly Int32Array[])[],
  lengths: readonly (readonly number[])[],
  { memoryMB = MEMORY_MB }: WalkOptions,
  adapterOnly: 'auto' | Method | null = null,
): WalkPlan {
  const shapes = parts.map((of, s) => batchShapes(of, lengths[s]!));
  const reduction =
    adapterOnly === null
      ? null
      : chooseReduction(layers, { classes: outputs, method: adapterOnly, shapes: shapes.flat() });
  /** Returns the bytes that are kept of a layer for all batches. */
  const bytesOf = (layer: AdaptedLayer): number =>
    shapes
      .flat()
      .reduce(
        (sum, shape) => sum + (reduction?.bytes(layer, shape) ?? layerBytes(layer, shape, outputs)),
        0,
      );
  const groups = layerGroups(layers, bytesOf, memoryMB).map((of) => ({
    layers: of,
    bytes: of.reduce((sum, layer) => sum + bytesOf(layer), 0),
  }));
  return { parts, groups, reduction };
}

const rowLengths = (rows: readonly TokenRow[]): number[] => rows.map(({ ids }) => ids.length);

/** Returns how many logits each row has; 0 where the model does not say. */
const logitCounts = (model: AdaptedModel, rows: readonly TokenRow[]): number[] =>
  rows.map((row) => model.logits?.(row) ?? 0);

/** Returns the larger of the numbers at each place of two lists of one length. */
const pairwiseMax = (a: readonly number[], b: readonly number[]): number[] =>
  a.map((value, i) => Math.max(value, b[i] ?? 0));

const NO_ROWS = 'there are no rows to walk the layers with';

/**
 * Plans the batches of rows and the groups of layers. Throws RangeError where there are no rows.
 * @param rows as the model reads them, without padding
 * @param adapterOnly how the adapter's kernel is contracted, if that kernel is all that the walk is
 *   for: gradients may then be kept in place of h and δ. Null for any other walk.
 */
export function planWalk(
  model: AdaptedModel,
  rows: readonly TokenRow[],
  options: WalkOptions,
  adapterOnly: 'auto' | Method | null = null,
): WalkPlan {
  if (rows.length === 0) throw new RangeError(NO_ROWS);
  const lengths = rowLengths(rows);
  const parts = batches(lengths, {
    tokens: options.batchTokens ?? BATCH_TOKENS,
    logits: logitCounts(model, rows),
    countPadding: adapterOnly === null || adapterOnly === 'gram',
  });
  return makePlan(model, [parts], [lengths], options, adapterOnly);
}

/**
 * Plans a walk over two sets of rows that are paired: row i of each set is in the same batch.
 * Throws RangeError where they are empty.
 */
export function planPairs(
  model: AdaptedModel,
  left: readonly TokenRow[],
  right: readonly TokenRow[],
  options: WalkOptions,
): WalkPlan {
  if (left.length === 0) throw new RangeError(NO_ROWS);
  const [ofLeft, ofRight] = [rowLengths(left), rowLengths(right)];
  const parts = batches(pairwiseMax(ofLeft, ofRight), {
    tokens: options.batchTokens ?? BATCH_TOKENS,
    logits: pairwiseMax(logitCounts(model, left), logitCounts(model, right)),
  });
  return makePlan(model, [parts, parts], [ofLeft, ofRight], options);
}

interface Visits {
  /**
   * Called for each layer, in forward order. `seen`: what was kept of the layer, by set and batch.
   */
  readonly layer: (layer: AdaptedLayer, seen: readonly (readonly LayerBatch[])[]) => void;
  /** Called after each group of layers but the last, with the number of groups done. */
  readonly group?: (done: number) => Promise<void>;
}

interface KeptBatch {
  readonly rows: Int32Array;
  /** h and δ of a group of layers. */
  readonly of: Collected;
  /** By layer, the gradients in place of h and δ. */
  readonly own: Map<string, readonly GradientTerm[]>;
}

/** Returns h and δ of a layer. Throws an Error if the model did not apply the layer. */
function layerTokens(of: Collected, layer: AdaptedLayer): LayerTokens {
  const tokens = of.layers.get(layer.name);
  if (tokens === undefined) throw new Error(`the model never called its layer ${layer.name}`);
  return tokens;
}

/** Puts a batch's gradients in the place of a layer's h and δ if they take less memory. */
function reduceLayer(
  reduction: Reduction,
  layer: AdaptedLayer,
  { rows, of, own }: KeptBatch,
): void {
  const terms = reduction.reduce(layer, { rows, tokens: layerTokens(of, layer) });
  if (terms === null) return;
  own.set(layer.name, terms);
  of.release(layer.name);
}

/** Disposes of what a batch keeps of a layer. */
function release({ of, own }: KeptBatch, { name }: AdaptedLayer): void {
  of.release(name);
  own.get(name)?.forEach(({ gradients }) => gradients.forEach((tensor) => tensor.dispose()));
}

/**
 * Visits the layers of group `start`, counted from 0, and of all groups after it. Returns the
 * logits of each set, (N, C); they are zeros if there are no more than `start` groups. Throws the
 * reason of `signal` once that is aborted.
 */
export async function walkSets(
  model: AdaptedModel,
  sets: readonly (readonly TokenRow[])[],
  { parts, groups, reduction }: WalkPlan,
  start: number,
  visits: Visits,
  options: Pick<WalkOptions, 'progress' | 'signal'>,
): Promise<Float32Array[]> {
  const { outputs: classes } = model;
  const logits = sets.map((rows) => new Float32Array(rows.length * classes));
  const passes = parts.flat().length;
  const total = groups.length * passes + model.layers.length;
  let done = groups.slice(0, start).reduce((sum, { layers }) => sum + passes + layers.length, 0);
  /** Reports one more step, and throws if the walk was aborted. */
  const step = async (): Promise<void> => {
    options.progress?.(++done, total, 'steps');
    await new Promise((resolve) => {
      setImmediate(resolve);
    }); // lets the event loop run between passes, for heartbeats and aborts
    options.signal?.throwIfAborted();
  };
  for (const [g, { layers }] of groups.entries()) {
    if (g < start) continue;
    const wanted = new Set(layers.map(({ name }) => name));
    const collected: KeptBatch[][] = sets.map(() => []);
    try {
      for (const [s, rows] of sets.entries()) {
        for (const part of parts[s]!) {
          const batch = Array.from(part, (i) => rows[i]!);
          const of = collect(model, batch, wanted);
          const kept: KeptBatch = { rows: part, of, own: new Map() };
          collected[s]!.push(kept);
          if (reduction !== null) for (const layer of layers) reduceLayer(reduction, layer, kept);
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
            batchesOf.map(({ rows, of, own }): LayerBatch => ({
              rows,
              tokens: layerTokens(of, layer),
              own: own.get(layer.name) ?? null,
            })),
          ),
        );
        for (const kept of collected.flat()) release(kept, layer);
        await step();
      }
    } finally {
      for (const kept of collected.flat()) for (const layer of layers) release(kept, layer);
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
  const plan = planWalk(model, rows, options);
  const visits: Visits = { layer: (layer, [seen]) => visit(layer, seen!) };
  const [logits] = await walkSets(model, [rows], plan, 0, visits, options);
  return logits!;
}

/**
 * Adds the kernel of one term, given batch by batch, to each of `sums`. Does nothing without sums.
 */
export function addTerm(
  seen: readonly LayerBatch[],
  terms: readonly Term[],
  sums: readonly KernelSum[],
): void {
  const [like] = sums;
  if (like === undefined) return;
  const { rows, classes } = like;
  const blocks = terms.map(({ a, b }, k): TokenBlock => ({
    a,
    b,
    example: seen[k]!.tokens.example,
    rows: seen[k]!.rows,
  }));
  const found = emptyAccumulator(rows * classes);
  const { p, q } = widthsOf(blocks[0]!);
  const method = cheaper(costs(blocks.map(blockShape), classes, p, q));
  compiled(() => {
    contractions[method](blocks, terms[0]!.coefficient, found);
  });
  const order = kernelOrder(
    blocks.map((block) => block.rows),
    classes,
  );
  const values = unfold(found, order);
  for (const { data } of sums) for (let k = 0; k < values.length; k++) data[k]! += values[k]!;
}

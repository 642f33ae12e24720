/**
 * Plans a kernel's forward passes: batches of rows, groups of layers, and what is kept of a batch.
 *
 * What is kept of a layer is, for the batch's tokens, its inputs h and the derivatives δ of the
 * model's outputs by the layer's output. If only the adapter's kernel is computed, the gradients of
 * the batch's rows with respect to the adapter's parameters are kept instead, at each layer where
 * they take less memory. Fewer passes are then needed. The explicit contraction computes these
 * gradients from h and δ in any case, so no entry of the kernel changes.
 */
import * as tf from '@tensorflow/tfjs-core';
import { compiled } from '../../../tensor/compiled/compiled.ts';
import { MOST_LOGITS } from '../../models/layout.ts';
import type { AdaptedLayer } from '../../models/types.ts';
import { type BlockShape, cheaper, costs, type Method } from './contractions.ts';
import { rowGradients } from './explicit.ts';
import type { LayerBatch } from './layerwise.ts';
import { type GradientTerm, ownTerms, ownWidths, zeroTerms } from './terms.ts';

/**
 * Attention computes a score for each pair of positions of a row, padding included. If padding does
 * not count as tokens, this limits the pairs: a batch has at most this many pairs for each token
 * that it may have. A row of 512 tokens has 512 pairs for each token.
 */
const PAIRS_PER_TOKEN = 512;

export interface BatchLimits {
  /** The most tokens of a batch. */
  readonly tokens: number;
  /** The number of logits of each row. Default: 0. */
  readonly logits?: readonly number[];
  /**
   * Whether the padding of each row to its batch's longest counts as tokens. Default: true. If not,
   * batches are larger and fewer, which costs layers nothing: they compute nothing for padding. But
   * for two tokens t and u of one batch, `gram` computes both (t, u) and (u, t); for tokens of
   * different batches it computes only one of these.
   */
  readonly countPadding?: boolean;
}

/**
 * Returns batches of rows of similar length, as the rows' positions. A batch keeps within the
 * limits and has at most MOST_LOGITS logits, or it is a single row.
 */
export function batches(
  lengths: readonly number[],
  { tokens: mostTokens, logits = [], countPadding = true }: BatchLimits,
): Int32Array[] {
  const order = lengths.map((_, i) => i).sort((i, j) => lengths[i]! - lengths[j]! || i - j);
  const out: number[][] = [];
  let tokens = 0,
    heldLogits = 0;
  for (const i of order) {
    // Lengths ascend, so row i is the longest of its batch.
    const last = out[out.length - 1],
      length = lengths[i]!,
      rowLogits = logits[i] ?? 0,
      rows = (last?.length ?? 0) + 1;
    const fits =
      last !== undefined &&
      (countPadding
        ? rows * length <= mostTokens
        : tokens + length <= mostTokens && rows * length ** 2 <= PAIRS_PER_TOKEN * mostTokens) &&
      heldLogits + rowLogits <= MOST_LOGITS;
    if (fits) last.push(i);
    else out.push([i]);
    tokens = fits ? tokens + length : length;
    heldLogits = fits ? heldLogits + rowLogits : rowLogits;
  }
  return out.map((rows) => Int32Array.from(rows));
}

type Extent = Pick<BlockShape, 'rows' | 'tokens'>;
type Sized = Omit<AdaptedLayer, 'lora' | 'vera'>;

/**
 * Returns the most rows that a layer's input may have for a batch of this extent; see `LinearLayer`
 * and `VectorLayer`.
 */
const mostInputRows = (
  { relative = false, onePerText = false, rowsPerToken = 1 }: Sized,
  { rows, tokens }: Extent,
): number => rowsPerToken * (onePerText ? rows : relative ? 3 * tokens : tokens);

/** Returns the most bytes that a layer's h and δ take for a batch of this extent. */
export const layerBytes = (layer: Sized, extent: Extent, classes: number): number =>
  4 * mostInputRows(layer, extent) * (layer.in + classes * layer.out);

/** Cuts the layers into groups of at most `memoryMB`; a larger layer is a group by itself. */
export function layerGroups<L>(
  layers: readonly L[],
  bytesOf: (layer: L) => number,
  memoryMB: number,
): L[][] {
  const groups: L[][] = [];
  let bytes = Infinity;
  for (const layer of layers) {
    const own = bytesOf(layer);
    if (bytes + own > memoryMB * 2 ** 20) {
      groups.push([]);
      bytes = 0;
    }
    groups[groups.length - 1]!.push(layer);
    bytes += own;
  }
  return groups;
}

export interface Reduction {
  /** Returns the bytes that are kept of a layer for a batch of this shape. */
  bytes(layer: AdaptedLayer, shape: BlockShape): number;
  /**
   * Returns the gradients that take the place of h and δ, to be disposed of by the caller; null
   * where h and δ take no more memory, and stay.
   */
  reduce(layer: AdaptedLayer, batch: Pick<LayerBatch, 'rows' | 'tokens'>): GradientTerm[] | null;
}

interface Contracted {
  readonly classes: number;
  readonly method: 'auto' | Method;
  readonly shapes: readonly BlockShape[];
}

/**
 * Returns the bytes of one row's gradients with respect to the adapter's parameters at a layer.
 * Null unless all terms of the layer are contracted by gradients, and its input has one row for
 * each token.
 */
function gradientBytes(
  layer: AdaptedLayer,
  { classes, method, shapes }: Contracted,
): number | null {
  // `shapes` counts one row of a layer's input for each token, which is wrong for these layers.
  if (layer.relative === true || layer.onePerText === true) return null;
  if (layer.rowsPerToken !== undefined) return null;
  const widths = ownWidths(layer, zeroTerms(layer));
  const explicit =
    method === 'explicit' ||
    (method === 'auto' &&
      widths.every(({ p, q }) => cheaper(costs(shapes, classes, p, q)) === 'explicit'));
  return explicit ? widths.reduce((sum, { p, q }) => sum + 4 * classes * p * q, 0) : null;
}

/** Returns the reduction that keeps whichever takes less memory, h and δ or gradients. */
export function chooseReduction(
  layers: readonly AdaptedLayer[],
  contracted: Contracted,
): Reduction {
  const { classes } = contracted;
  const bytesPerRow = new Map(
    layers.map((layer) => [layer.name, gradientBytes(layer, contracted)]),
  );
  /**
   * Returns the bytes of a layer's gradients for so many rows; Infinity where they can't be kept.
   */
  const bytesOfGradients = ({ name }: AdaptedLayer, rows: number): number =>
    rows * (bytesPerRow.get(name) ?? Infinity);
  return {
    bytes: (layer, shape) =>
      Math.min(bytesOfGradients(layer, shape.rows), layerBytes(layer, shape, classes)),
    reduce: (layer, { rows, tokens }) => {
      const { example } = tokens;
      const shape = { rows: rows.length, tokens: example.length };
      if (bytesOfGradients(layer, rows.length) >= layerBytes(layer, shape, classes)) return null;
      return compiled(() => {
        const terms: GradientTerm[] = [];
        tf.tidy(() => {
          for (const { a, b, parameter, coefficient } of ownTerms(layer, tokens, zeroTerms(layer)))
            terms.push({
              parameter,
              coefficient,
              p: a[0]!.shape[1],
              q: b.shape[1],
              gradients: rowGradients({ a, b, example, rows }).map((own) => tf.keep(own)),
            });
        });
        return terms;
      });
    },
  };
}

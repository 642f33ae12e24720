/** Plans a kernel's forward passes: batches of rows, groups of layers. */
import { MOST_LOGITS } from '../../models/similar-lengths.ts';
import type { AdaptedLayer } from '../../models/types.ts';
import type { BlockShape } from './contractions.ts';

/**
 * Where padding does not count as tokens: how many pairs of positions attention may compute for
 * each token that a batch may have, padding included. Rows of 512 tokens have as many.
 */
const PAIRS_PER_TOKEN = 512;

export interface BatchLimits {
  /** The most tokens of a batch. */
  readonly tokens: number;
  /** The number of logits of each row. Default: too few to count. */
  readonly logits?: readonly number[];
  /**
   * Whether the padding of each row to its batch's longest counts as tokens. Default: true. Layers
   * see no padding, so that few rows are one batch without it; but pairs of tokens in one batch are
   * computed both ways, and those between two batches are not.
   */
  readonly countPadding?: boolean;
}

/**
 * Returns batches of rows of similar length. A batch keeps within the limits and has at most
 * MOST_LOGITS logits, or is a single row.
 */
export function batches(
  lengths: readonly number[],
  { tokens: most, logits = [], countPadding = true }: BatchLimits,
): Int32Array[] {
  const order = lengths.map((_, i) => i).sort((i, j) => lengths[i]! - lengths[j]! || i - j);
  const out: number[][] = [];
  let tokens = 0,
    held = 0;
  for (const i of order) {
    // ascending, so this row is the longest so far
    const last = out[out.length - 1],
      length = lengths[i]!,
      own = logits[i] ?? 0,
      rows = (last?.length ?? 0) + 1;
    const fits =
      last !== undefined &&
      (countPadding
        ? rows * length <= most
        : tokens + length <= most && rows * length ** 2 <= PAIRS_PER_TOKEN * most) &&
      held + own <= MOST_LOGITS;
    if (fits) last.push(i);
    else out.push([i]);
    tokens = fits ? tokens + length : length;
    held = fits ? held + own : own;
  }
  return out.map((rows) => Int32Array.from(rows));
}

/** How much a batch, or a set, has. */
type Extent = Pick<BlockShape, 'rows' | 'tokens'>;

/** A bound on the rows that enter a layer; see `LinearLayer` and `VectorLayer`. */
const rowsOf = (
  { relative = false, onePerText = false, rowsPerToken = 1 }: AdaptedLayer,
  { rows, tokens }: Extent,
): number => rowsPerToken * (onePerText ? rows : relative ? 3 * tokens : tokens);

/** Returns the bytes of a layer's h and δ. */
export const layerBytes = (layer: AdaptedLayer, extent: Extent, classes: number): number =>
  4 * rowsOf(layer, extent) * (layer.in + classes * layer.out);

/**
 * Divides the layers into groups that fit into `memoryMB`. A layer that does not fit is a group by
 * itself.
 */
export function layerGroups(
  layers: readonly AdaptedLayer[],
  bytesOf: (layer: AdaptedLayer) => number,
  memoryMB: number,
): AdaptedLayer[][] {
  const groups: AdaptedLayer[][] = [];
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

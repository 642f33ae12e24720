/** Plans a kernel's forward passes: batches of rows, groups of layers. */
import { MOST_LOGITS } from '../model/similar-lengths.ts';
import type { AdaptedLayer } from '../model/types.ts';
import type { BlockShape } from './cost.ts';

/**
 * How many pairs of positions attention may compute for each token that a batch may have, padding
 * included: as many as rows of 512 tokens have.
 */
const PAIRS_PER_TOKEN = 512;

/**
 * Returns batches of rows of similar length. A batch has at most `batchTokens` tokens, without
 * padding, since layers see none; at most PAIRS_PER_TOKEN times as many pairs of positions, where
 * attention pads its rows to the longest; and at most MOST_LOGITS logits; or it is a single row.
 * @param logits the number of logits of each row. Default: too few to count
 */
export function batches(
  lengths: readonly number[],
  batchTokens: number,
  logits: readonly number[] = [],
): Int32Array[] {
  const order = lengths.map((_, i) => i).sort((i, j) => lengths[i]! - lengths[j]! || i - j);
  const out: number[][] = [];
  let tokens = 0,
    held = 0;
  for (const i of order) {
    // ascending, so this row is the longest so far
    const last = out[out.length - 1],
      length = lengths[i]!,
      own = logits[i] ?? 0;
    const fits =
      last !== undefined &&
      tokens + length <= batchTokens &&
      (last.length + 1) * length ** 2 <= PAIRS_PER_TOKEN * batchTokens &&
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

/**
 * Disentangled attention (He et al. 2021): the part of the scores that depends on how far query and
 * key are apart. A table has a row for each relative position; the rows become keys (content to
 * position, c2p) and queries (position to content, p2c) through linear layers. The rows belong to
 * the whole batch: they enter a layer once for each copy of the table (`ForwardContext.copies`).
 * Only the rows of distances within the longest text enter.
 */
import type { Rank, Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import { add, differentiable } from '../../tensor/differentiable.ts';
import { gatherRows } from '../../tensor/rows.ts';
import { indexesOf, pad, padZero, restored, unpad } from './attention.ts';
import { dropout } from './elementwise.ts';
import type { Relative, RelativeTable } from './families/description.ts';
import type { Layout, Padding } from './layout.ts';
import { normalised } from './norms.ts';
import type { ForwardContext, TokenMap } from './types.ts';

/**
 * Returns the index of the table's row for a query that stands `distance` tokens after its key
 * (before it if negative). Buckets are computed in float32, as in transformers.
 */
export function relativeRow({ span, buckets }: RelativeTable, distance: number): number {
  /** Returns the row for an offset from distance 0; the first or last row if it is beyond them. */
  const rowAt = (offset: number): number => Math.min(2 * span - 1, Math.max(0, offset + span));
  if (buckets === null) return rowAt(distance);
  const middle = Math.floor(buckets.count / 2),
    far = Math.abs(distance);
  if (far <= middle) return rowAt(distance);
  const f = Math.fround;
  const share = f(f(Math.log(f(far / middle))) / f(Math.log(f((buckets.positions - 1) / middle))));
  return rowAt(Math.sign(distance) * (Math.ceil(f(share * (middle - 1))) + middle));
}

/**
 * What the layers share of one table for one batch. T: the number of tokens of the longest text. R:
 * the number of the table's rows for distances within that text. K: the number of copies of the
 * table.
 */
export interface RelativeRows {
  /** The R rows of each of the K copies, copy after copy, (K·R, h). */
  readonly rows: Tensor2D;
  /** For each of `rows`, the first row of the batch that reads its copy. */
  readonly map: TokenMap;
  /**
   * G: the batch is seen as G groups of B/G rows; a group reads one copy. G is K if every copy has
   * equally many rows of the batch, else B.
   */
  readonly groups: number;
  /**
   * For each group and each distance, the index in `rows`, (G·2T). The distances are T − 1, …, 1 −
   * T for c2p, and 1 − T, …, T − 1 for p2c. The last of each 2T entries is never read.
   */
  readonly c2p: Tensor1D;
  readonly p2c: Tensor1D;
  /** For each token that the head reads, its place among all T places of its row. */
  readonly read: Padding;
}

/**
 * Returns, for each copy of the table, the first row of the batch that reads it (`firsts`); and for
 * each row of the batch its copy, counted from 0 (`copyOf`). Rows with the same number in `copies`
 * follow each other. Without `copies`, all rows read one copy.
 */
function copiesOf(batch: number, copies: ForwardContext['copies']) {
  const firsts: number[] = [],
    copyOf: number[] = [];
  for (let b = 0; b < batch; b++) {
    if (b === 0 || copies?.[b] !== copies?.[b - 1]) firsts.push(b);
    copyOf.push(firsts.length - 1);
  }
  return { firsts, copyOf };
}

/** Returns, for each token that the head reads, its place among all T places of its row. */
function paddingOfRead({ lengths, all, read }: Layout): Padding {
  if (read.index === null) return all.padding;
  const T = all.padding.width,
    padded = new Int32Array(lengths.length * T);
  const places = read.places.map((place, i) => at(read.map.example, i) * T + place);
  places.forEach((place, i) => {
    padded[place] = i;
  });
  return {
    width: T,
    index: { padded: tf.tensor1d(padded, 'int32'), places: tf.tensor1d(places, 'int32') },
  };
}

/** Returns what a batch reads of the table. The tensors belong to the enclosing tf.tidy. */
export function openRelative(
  table: RelativeTable,
  layout: Layout,
  context: ForwardContext,
): RelativeRows {
  const batch = layout.lengths.length,
    T = layout.all.padding.width;
  const first = relativeRow(table, 1 - T),
    R = relativeRow(table, T - 1) - first + 1;
  const { firsts, copyOf } = copiesOf(batch, context.copies),
    K = firsts.length;
  // A group is all rows of a copy or, if copies have different numbers of rows, a single row.
  const even = firsts.every((b, k) => b * K === k * batch);
  const copyOfGroup = even ? firsts.map((_, k) => k) : copyOf;
  /** Returns, for each group and each j below 2T, the index in `rows` for distance(j), (G·2T). */
  const indexOf = (distance: (j: number) => number): Tensor1D =>
    tf.tensor1d(
      copyOfGroup.flatMap((copy) =>
        Array.from({ length: 2 * T }, (_, j) => {
          const row = relativeRow(table, distance(Math.min(j, 2 * T - 2)));
          return copy * R + row - first;
        }),
      ),
      'int32',
    );
  const map = {
    batch,
    example: Int32Array.from({ length: K * R }, (_, i) => firsts[Math.floor(i / R)]!),
  };
  const rows = context.scope(() => {
    const index = tf.tensor1d(
      firsts.flatMap(() => Array.from({ length: R }, (_, i) => first + i)),
      'int32',
    );
    const own = gatherRows(context.parameter(table.name) as Tensor2D, index); // (K·R, h)
    return table.norm === null ? own : normalised(table.norm, own, map, context);
  });
  return {
    rows,
    map,
    groups: copyOfGroup.length,
    c2p: indexOf((j) => T - 1 - j),
    p2c: indexOf((j) => j - (T - 1)),
    read: paddingOfRead(layout),
  };
}

/** out[·, i, j] = x[·, i, j − i + T − 1]. (N, T, 2T) → (N, T, T). */
function skew(x: Tensor, T: number): Tensor {
  const N = x.size / (2 * T * T);
  // With all rows in one line, the entry for (i, j) has the place i(2T − 1) + j + T − 1.
  const line = tf.slice(tf.reshape(x, [N, 2 * T * T]), [0, T - 1], [N, T * (2 * T - 1)]);
  return tf.slice(tf.reshape(line, [N, T, 2 * T - 1]), [0, 0, 0], [N, T, T]);
}

/** The gradient of `skew`: zero where it reads nothing. (N, T, T) → (N, T, 2T). */
function unskew(x: Tensor, T: number): Tensor {
  const N = x.size / (T * T);
  const wide = tf.pad(x, [
    [0, 0],
    [0, 0],
    [0, T - 1],
  ]);
  const line = tf.pad(tf.reshape(wide, [N, T * (2 * T - 1)]), [
    [0, 0],
    [T - 1, 1],
  ]);
  return tf.reshape(line, [N, T, 2 * T]);
}

interface TermShape {
  readonly batch: number;
  readonly heads: number;
  readonly groups: number;
  readonly scale: number;
  /** Where x stands among all T places of each row. */
  readonly padding: Padding;
  /** Whether x is keys, so that the result is transposed. */
  readonly keys: boolean;
}

/**
 * Returns a term D of the scores: the product of x, queries or keys, with the position vector at
 * the distance of query and key, times the scale s. x: (S, H·d), positions P: (G·2T, H·d) → (B, H,
 * T, T).
 *
 *     E = s·X Pᵀ;  D = skew(E), transposed for keys;  dE = unskew(dD);  dX = s·dE P;  dP = s·dEᵀX
 */
function term(x: Tensor2D, positions: Tensor2D, shape: TermShape): Tensor4D {
  const { batch, heads, groups: G, scale, padding, keys } = shape;
  const T = padding.width,
    n = batch / G;
  // The n rows of a group stand one after the other, as one row of n·T places.
  const grouped = (own: Padding): Padding => ({ ...own, width: n * T });
  const ofPositions: Padding = { width: 2 * T, index: null };
  return differentiable([x, positions], {
    forward: () => {
      const X = tf.mul(pad(x, grouped(padding), G, heads), scale), // (G, H, n·T, d)
        P = pad(positions, ofPositions, G, heads); // (G, H, 2T, d)
      const own = skew(tf.matMul(X, P, false, true), T); // (G·H·n, T, T)
      const apart = tf.reshape(keys ? tf.transpose(own, [0, 2, 1]) : own, [G, heads, n, T, T]);
      return {
        value: tf.reshape<Rank.R4>(tf.transpose(apart, [0, 2, 1, 3, 4]), [batch, heads, T, T]),
        saved: [X, P, ...indexesOf(padding)],
      };
    },
    backward: (dy, [X, P, ...rest], needs) => {
      const apart = tf.transpose(tf.reshape(dy, [G, n, heads, T, T]), [0, 2, 1, 3, 4]);
      const own = tf.reshape(apart, [G * heads * n, T, T]);
      const dE = tf.reshape(unskew(keys ? tf.transpose(own, [0, 2, 1]) : own, T), [
        G,
        heads,
        n * T,
        2 * T,
      ]);
      return [
        needs[0]
          ? unpad(tf.mul(tf.matMul(dE, P), scale), grouped(restored(padding, rest)), G) // (S, H·d)
          : null,
        // X was multiplied by the scale already.
        needs[1] ? unpad(tf.matMul(dE, X, true, false), ofPositions, G) : null, // (G·2T, H·d)
      ];
    },
  });
}

/**
 * Moves the rows of queries from their places in `from` (T a text) to those in `to` (Tq a text).
 * x: (B, H, T, n) → (B, H, Tq, n).
 */
const moveRows = (x: Tensor4D, from: Padding, to: Padding): Tensor4D => {
  const [batch, heads] = x.shape;
  return differentiable([x], {
    forward: () => ({
      value: pad(unpad(x, from, batch), to, batch, heads) as Tensor4D,
      saved: [...indexesOf(from), ...indexesOf(to)],
    }),
    backward: (dy, saved) => {
      const rest = [...saved],
        places = restored(from, rest);
      return [padZero(unpad(dy, restored(to, rest), batch), places, batch, heads)];
    },
  });
};

interface RelativeShape {
  readonly batch: number;
  readonly heads: number;
  readonly scale: number;
  readonly layout: Layout;
  /** Whether only the tokens that the head reads have queries, as in the last layer. */
  readonly last: boolean;
}

/**
 * Returns what relative positions add to the scores, (B, H, Tq, T). At least one of `key` and
 * `query` must not be null. q: (Q, H·d), k: (S, H·d).
 * @param dropped the dropout of the table's rows, whose mask each layer draws anew
 */
export function relativeBias(
  { key, query }: Relative,
  [q, k]: readonly [q: Tensor2D, k: Tensor2D],
  { rows, map, groups, c2p, p2c, read }: RelativeRows,
  { layout, last, ...shape }: RelativeShape,
  context: ForwardContext,
  dropped: ForwardContext['dropout'],
): Tensor4D {
  const own = dropout(rows, dropped),
    all = layout.all.padding,
    places = last ? read : all;
  const positions = (layer: string, index: Tensor1D): Tensor2D =>
    gatherRows(context.linear(layer, own, map), index); // (G·2T, H·d)
  const terms = [
    key && term(q, positions(key.name, c2p), { ...shape, groups, padding: places, keys: false }),
    query && term(k, positions(query.name, p2c), { ...shape, groups, padding: all, keys: true }),
  ]; // each (B, H, T, T)
  const sum = terms.filter((one) => one !== null).reduce((a, b) => add(a, b));
  return last && places !== all ? moveRows(sum, places, layout.read.padding) : sum;
}

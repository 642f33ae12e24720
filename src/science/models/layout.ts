/** Where the tokens of a batch stand: S real tokens, row after row, of which a head reads Q. */
import type { Tensor1D, Tensor4D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import type { FusedRows } from '../../tensor/fused.ts';
import type { Reads, TokenMap, TokenRow } from './types.ts';

/** The mapping between tokens (S) and positions in the padded batch (B, T). */
export interface Padding {
  /** T, the number of positions in a row. */
  readonly width: number;
  /** Null where no row needs padding: then the S tokens are the B·T positions, in order. */
  readonly index: {
    /** (B·T): the token at each padded position; token 0 where there is padding. */
    readonly padded: Tensor1D;
    /** (S): the position of each token among the B·T. */
    readonly places: Tensor1D;
  } | null;
}

export interface Tokens {
  readonly map: TokenMap;
  /** The position of each token in its row, (S). */
  readonly places: Int32Array;
  readonly padding: Padding;
}

export interface Layout {
  readonly lengths: readonly number[];
  /** All tokens, (S). */
  readonly all: Tokens;
  /** The tokens that the head reads, (Q). */
  readonly read: Tokens & {
    /** The index of each among the S tokens, (Q); null where the head reads all S in order. */
    readonly index: Tensor1D | null;
  };
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

export function concatInts(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(sum(parts.map(({ length }) => length)));
  let start = 0;
  for (const part of parts) {
    all.set(part, start);
    start += part.length;
  }
  return all;
}

/** Returns the padding of a batch whose rows have these numbers of tokens. */
function paddingOf(counts: readonly number[]): Padding {
  const batch = counts.length,
    width = Math.max(...counts),
    total = sum(counts);
  if (total === batch * width) return { width, index: null };
  const padded = new Int32Array(batch * width),
    places = new Int32Array(total);
  let token = 0;
  counts.forEach((count, b) => {
    for (let t = 0; t < count; t++, token++) {
      padded[b * width + t] = token;
      places[token] = b * width + t;
    }
  });
  return {
    width,
    index: { padded: tf.tensor1d(padded, 'int32'), places: tf.tensor1d(places, 'int32') },
  };
}

/** Reads every token of every row. */
export const allTokens = (batch: readonly TokenRow[]): Reads => ({
  example: concatInts(batch.map(({ ids }, b) => new Int32Array(ids.length).fill(b))),
  place: concatInts(batch.map(({ ids }) => ids.map((_, t) => t))),
});

/** Returns the tokens that are read in a batch of `batch` rows, with their padding. */
function tokensOf({ example, place }: Reads, batch: number): Tokens {
  const counts = new Array<number>(batch).fill(0);
  for (const b of example) counts[b] = at(counts, b) + 1;
  return { map: { batch, example }, places: place, padding: paddingOf(counts) };
}

/**
 * Returns the layout of a batch whose head reads `reads`. Its tensors belong to the enclosing
 * tf.tidy.
 * @param starts the position of each row's first token, where a cache holds tokens before it;
 *   default: 0
 */
export function layOut(
  batch: readonly TokenRow[],
  reads: Reads,
  starts: readonly number[] = [],
): Layout {
  const lengths = batch.map(({ ids }) => ids.length);
  const placed = ({ example, place }: Reads): Reads => ({
    example,
    place: place.map((own, i) => own + (starts[example[i]!] ?? 0)),
  });
  const all = tokensOf(placed(allTokens(batch)), batch.length);
  const S = all.places.length;
  if (reads.place.length === S) return { lengths, all, read: { ...all, index: null } };
  const firsts: number[] = [];
  let first = 0;
  for (const length of lengths) {
    firsts.push(first);
    first += length;
  }
  const index = Int32Array.from(reads.place, (place, i) => at(firsts, reads.example[i]!) + place);
  return {
    lengths,
    all,
    read: { ...tokensOf(placed(reads), batch.length), index: tf.tensor1d(index, 'int32') },
  };
}

/** Returns where each row's tokens start, then where the last row's end, int32, (B + 1). */
export function rowStarts({ batch, example }: TokenMap): Tensor1D {
  const starts = new Int32Array(batch + 1);
  for (const b of example) starts[b + 1]! += 1;
  for (let b = 0; b < batch; b++) starts[b + 1]! += starts[b]!;
  return tf.tensor1d(starts, 'int32');
}

/** Returns where the queries and keys of each row stand, for a fused attention. */
export const rowsOf = ({ all }: Layout, queries: Tokens): FusedRows => ({
  queries: rowStarts(queries.map),
  keys: rowStarts(all.map),
  places: tf.tensor1d(queries.places, 'int32'),
});

/** Which keys of its row a query sees: those within the window; if `causal`, none after itself. */
export interface Sight {
  readonly causal: boolean;
  /** A query sees tokens less than this many positions away. */
  readonly window?: number | undefined;
}

/** What is added to the score of a key that is not seen, so that its weight is zero. */
export const UNSEEN = -1e9;

/**
 * Returns what is added to the scores: 0 where a query sees a key, −1e9 elsewhere. (B, 1, 1, T)
 * where all queries of a row see the same keys, else (B, 1, G·Tq, T), with the queries of the G
 * heads of a group one head after the other. Null where every query sees every key of the padded
 * batch.
 * @param groupSize G, the number of heads that share keys and values
 */
export function attentionMask(
  { lengths, all }: Layout,
  queries: Tokens,
  { causal, window = Infinity }: Sight,
  groupSize = 1,
): Tensor4D | null {
  const batch = lengths.length,
    T = all.padding.width;
  if (!causal && window >= T) {
    if (all.padding.index === null) return null;
    const values = new Float32Array(batch * T);
    lengths.forEach((length, b) => values.fill(UNSEEN, b * T + length, (b + 1) * T));
    return tf.tensor4d(values, [batch, 1, 1, T]);
  }
  const Tq = queries.padding.width;
  // Padding among the queries sees every key, so that its softmax is finite; it is never read.
  const values = new Float32Array(batch * Tq * T);
  const next = new Array<number>(batch).fill(0);
  queries.map.example.forEach((b, i) => {
    const row = (b * Tq + next[b]!++) * T,
      place = queries.places[i]!,
      first = Math.max(0, place - window + 1),
      end = Math.min(at(lengths, b), causal ? place + 1 : place + window);
    values.fill(UNSEEN, row, row + first);
    values.fill(UNSEEN, row + end, row + T);
  });
  const mask = tf.tensor4d(values, [batch, 1, Tq, T]);
  return groupSize === 1 ? mask : tf.tile(mask, [1, 1, groupSize, 1]);
}

/** The most logits of a batch of several rows. They take 64 MiB, and a pass holds a few copies. */
export const MOST_LOGITS = 2 ** 24;

/**
 * Yields batches of rows of similar length, as indexes, longest first. A batch has at most
 * `batchSize` rows and, unless it is a single row, MOST_LOGITS logits. Rows of the same length keep
 * their order.
 * @param logits the number of logits of a row; default: 0
 */
export function* similarLengths(
  rows: readonly TokenRow[],
  batchSize: number,
  logits: (row: TokenRow) => number = () => 0,
): Generator<readonly number[], void> {
  const order = rows
    .map((_, i) => i)
    .sort((a, b) => at(rows, b).ids.length - at(rows, a).ids.length || a - b);
  let batch: number[] = [],
    held = 0;
  for (const i of order) {
    const own = logits(at(rows, i));
    if (batch.length === batchSize || (batch.length > 0 && held + own > MOST_LOGITS)) {
      yield batch;
      batch = [];
      held = 0;
    }
    batch.push(i);
    held += own;
  }
  if (batch.length > 0) yield batch;
}

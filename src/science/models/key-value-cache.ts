/**
 * The keys and values of the tokens that a decoder has read, so that a new token is computed alone.
 * Rows stand padded in columns, (B, Hk, T, d): first those of the prompts, then one for each step.
 * The newest columns are a block of their own, so that a step copies these few and not all.
 */
import type { Tensor, Tensor4D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import { type Sight, type Tokens, UNSEEN } from './layout.ts';
import type { KeyValueBlock, TokenCache } from './types.ts';

type Placed = Pick<Tokens, 'map' | 'places'> & { readonly side: { readonly width: number } };

/** A layer's older columns, and the newest ones, if there are any yet. */
type Layer = readonly [old: KeyValueBlock, recent?: KeyValueBlock];

/** How many columns may be in the block of the newest ones. */
const RECENT = 16;

const joined = (a: KeyValueBlock, b: KeyValueBlock): KeyValueBlock => ({
  keys: tf.keep(tf.concat([a.keys, b.keys], 2)),
  values: tf.keep(tf.concat([a.values, b.values], 2)),
});

const copied = ({ keys, values }: KeyValueBlock): KeyValueBlock => ({
  keys: tf.keep(tf.clone(keys)),
  values: tf.keep(tf.clone(values)),
});

const dispose = (...blocks: readonly (KeyValueBlock | undefined)[]): void => {
  for (const block of blocks) {
    block?.keys.dispose();
    block?.values.dispose();
  }
};

/** Marks a column that holds padding in a row. */
const PADDING = -1;

export class KeyValueCache implements TokenCache {
  readonly #layers = new Map<number, Layer>();
  /** For each row, the position of the token in each column. */
  #columns: number[][];

  /** @param rows B */
  constructor(rows: number) {
    this.#columns = Array.from({ length: rows }, () => []);
  }

  /** The number of tokens that each row has, (B). */
  get lengths(): number[] {
    return this.#columns.map((row) => row.filter((place) => place !== PADDING).length);
  }

  /** Adds the columns of the tokens that are about to be read. */
  open(tokens: Placed): void {
    const { width } = tokens.side;
    const added = this.#columns.map((): number[] => []);
    tokens.map.example.forEach((b, i) => at(added, b).push(at(tokens.places, i)));
    this.#columns = this.#columns.map((row, b) => {
      const own = at(added, b);
      return [...row, ...own, ...new Array<number>(width - own.length).fill(PADDING)];
    });
  }

  /**
   * Adds the keys and values of the new tokens to a layer, (B, Hk, T, d). Returns its blocks in
   * order. They belong to the cache.
   */
  extend(layer: number, keys: Tensor, values: Tensor): readonly KeyValueBlock[] {
    const added = { keys, values },
      before = this.#layers.get(layer);
    let now: Layer;
    if (before === undefined) now = [copied(added)];
    else {
      const [old, recent] = before;
      now = [old, recent === undefined ? copied(added) : joined(recent, added)];
      dispose(recent);
    }
    this.#layers.set(layer, now);
    return now.filter((block) => block !== undefined);
  }

  /**
   * Puts the newest columns with the others once there are many of them. To be called between two
   * steps.
   */
  compact(): void {
    for (const [layer, [old, recent]] of this.#layers) {
      if (recent === undefined || recent.keys.shape[2]! < RECENT) continue;
      this.#layers.set(layer, [joined(old, recent)]);
      dispose(old, recent);
    }
  }

  /** 0 where a query sees a key, −1e9 elsewhere, (B, 1, G·Tq, T), as `maskOf`. */
  mask(queries: Placed, { window = Infinity }: Pick<Sight, 'window'>, groups: number): Tensor4D {
    const batch = this.#columns.length,
      T = at(this.#columns, 0).length,
      Tq = queries.side.width;
    const values = new Float32Array(batch * Tq * T),
      next = new Array<number>(batch).fill(0);
    queries.map.example.forEach((b, i) => {
      const place = at(queries.places, i),
        start = (b * Tq + next[b]!++) * T;
      at(this.#columns, b).forEach((key, t) => {
        if (key === PADDING || key > place || place - key >= window) values[start + t] = UNSEEN;
      });
    });
    const mask = tf.tensor4d(values, [batch, 1, Tq, T]);
    return groups === 1 ? mask : tf.tile(mask, [1, 1, groups, 1]);
  }

  /** Keeps these rows, in this order. */
  keep(rows: readonly number[]): void {
    this.#columns = rows.map((row) => at(this.#columns, row));
    const index = tf.tensor1d(rows.slice(), 'int32');
    const kept = ({ keys, values }: KeyValueBlock): KeyValueBlock => ({
      keys: tf.gather(keys, index),
      values: tf.gather(values, index),
    });
    for (const [layer, [old, recent]] of this.#layers) {
      this.#layers.set(layer, recent === undefined ? [kept(old)] : [kept(old), kept(recent)]);
      dispose(old, recent);
    }
    index.dispose();
  }

  dispose(): void {
    for (const layer of this.#layers.values()) dispose(...layer);
    this.#layers.clear();
  }
}

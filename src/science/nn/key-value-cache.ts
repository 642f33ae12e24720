/**
 * The keys and values of the tokens that a decoder has read, so that a new token is computed alone.
 * Rows stand padded in columns, (B, Hk, T, d): first those of the prompts, then one for each step.
 */
import type { Tensor, Tensor4D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../lookup.ts';
import type { TokenCache } from '../model/types.ts';
import { type Sight, type Tokens, UNSEEN } from './layout.ts';

type Placed = Pick<Tokens, 'map' | 'places'> & { readonly side: { readonly width: number } };

interface Layer {
  readonly keys: Tensor;
  readonly values: Tensor;
}

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
   * The keys and values of a layer with those of the new tokens behind them, (B, Hk, T, d). They
   * belong to the cache.
   */
  extend(layer: number, keys: Tensor, values: Tensor): Layer {
    const old = this.#layers.get(layer);
    const joined = (before: Tensor | undefined, added: Tensor): Tensor =>
      tf.keep(before === undefined ? tf.clone(added) : tf.concat([before, added], 2));
    const now = { keys: joined(old?.keys, keys), values: joined(old?.values, values) };
    old?.keys.dispose();
    old?.values.dispose();
    this.#layers.set(layer, now);
    return now;
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
    for (const [layer, { keys, values }] of this.#layers) {
      this.#layers.set(layer, { keys: tf.gather(keys, index), values: tf.gather(values, index) });
      keys.dispose();
      values.dispose();
    }
    index.dispose();
  }

  dispose(): void {
    for (const { keys, values } of this.#layers.values()) {
      keys.dispose();
      values.dispose();
    }
    this.#layers.clear();
  }
}

/**
 * Reduces the token embeddings to the rows that a training set uses. Only those have a gradient;
 * the others merely decay. So the used rows are trained as a smaller table, and the others are
 * multiplied by their total decay at the end. The numbers are the same, without moments, gradients
 * and updates for the nine tenths of a vocabulary that a typical set never uses.
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { takeRows } from '../../tensor/rows.ts';
import { inTable } from '../models/places.ts';
import type { TokenRow } from '../models/types.ts';

export interface TokenTable {
  /** The rows with the ids of the smaller table. */
  readonly compact: <R extends TokenRow>(rows: readonly R[]) => R[];
  /** The used rows, in the order of their ids. (V, h) → (V′, h) */
  readonly shrink: (table: Tensor2D) => Tensor2D;
  /**
   * The whole table, (V, h): the trained rows, and the other rows of `table` multiplied by
   * `factor`.
   */
  readonly expand: (table: Tensor2D, trained: Tensor2D, factor: number) => Tensor2D;
}

/** The smaller table for these rows. */
export function tokenTable(rows: readonly TokenRow[]): TokenTable {
  const used = Int32Array.from(new Set(rows.flatMap(({ ids }) => [...ids]))).sort();
  const place = new Map([...used].map((id, i) => [id, i]));
  return {
    compact: (some) => some.map((row) => inTable(row, place)),
    shrink: (table) => tf.tidy(() => takeRows(table, tf.tensor1d(used, 'int32'))),
    expand: (table, trained, factor) => {
      const values = table.dataSync().map((x) => x * factor),
        width = table.shape[1],
        rows = trained.dataSync();
      used.forEach((id, i) => {
        values.set(rows.subarray(i * width, (i + 1) * width), id * width);
      });
      return tf.tensor2d(values, table.shape);
    },
  };
}

/** Whether reducing the table is worthwhile: it is trained, and the set uses few of its rows. */
export const worthShrinking = (table: Tensor | undefined, rows: readonly TokenRow[]): boolean =>
  table !== undefined && new Set(rows.flatMap(({ ids }) => [...ids])).size < 0.8 * table.shape[0];

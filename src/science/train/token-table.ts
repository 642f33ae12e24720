/**
 * The token embedding of a training set: only rows that the set uses get a gradient, all others merely decay. So the
 * used rows are trained as a table of their own, and the others get their decay in one factor at the end: the same
 * numbers, without moments, gradients and updates for the nine tenths of a vocabulary that a set never shows.
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { TokenRow } from '../nn/types.ts';
import { takeRows } from '../tensor/rows.ts';

export interface TokenTable {
  /** The rows with their ids in the small table. */
  readonly compact: <R extends TokenRow>(rows: readonly R[]) => R[];
  /** (V, h) → (V′, h), the used rows in order of their ids. */
  readonly shrink: (table: Tensor2D) => Tensor2D;
  /** Back to (V, h): the trained rows, and the others of `table` times `factor`. */
  readonly expand: (table: Tensor2D, trained: Tensor2D, factor: number) => Tensor2D;
}

export function tokenTable(rows: readonly TokenRow[]): TokenTable {
  const used = Int32Array.from(new Set(rows.flatMap(({ ids }) => [...ids]))).sort();
  const place = new Map([...used].map((id, i) => [id, i]));
  return {
    compact: (some) => some.map((row) => ({ ...row, ids: row.ids.map((id) => place.get(id)!) })),
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

/** Whether the table is worth it: it is trained, and the set uses few of its rows. */
export const worthShrinking = (table: Tensor | undefined, rows: readonly TokenRow[]): boolean =>
  table !== undefined && new Set(rows.flatMap(({ ids }) => [...ids])).size < 0.8 * table.shape[0];

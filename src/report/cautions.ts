/** What a reader of a table must know of its numbers. Pure. */
import { contentKey } from './conditions.ts';
import type { ResultRow } from './results.ts';

export interface Cautions {
  /** Seeds of a cell whose model predicts one class for every validation row; 0 where that was not measured. */
  oneClass(cell: ResultRow['cell']): number;
  /** Whole sentences, of all rows; empty where there is nothing to say. */
  readonly sentences: readonly string[];
}

const of = (rows: readonly ResultRow[], metric: string): readonly ResultRow[] =>
  rows.filter((row) => row.stage === 'evaluate' && row.metric === metric);

/** @param rows every metric of the cells in question */
export function cautionsOf(rows: readonly ResultRow[]): Cautions {
  const predicted = of(rows, 'predicted_share'),
    collapsed = predicted.filter(({ value }) => value >= 1);
  const unseen = of(rows, 'trigger_seen').filter(({ value }) => value < 1);
  const byCell = new Map<string, number>();
  for (const { cell } of collapsed)
    byCell.set(contentKey(cell), (byCell.get(contentKey(cell)) ?? 0) + 1);
  return {
    oneClass: (cell) => byCell.get(contentKey(cell)) ?? 0,
    sentences: [
      ...(collapsed.length === 0
        ? []
        : [
            `† ${collapsed.length} of ${predicted.length} models predict one class only: their numbers are no evidence of what an attack does.`,
          ]),
      ...(unseen.length === 0
        ? []
        : [
            `In ${unseen.length} of ${of(rows, 'trigger_seen').length} evaluations under an attack part of the triggers lies beyond the tokens that the model reads (in the worst case ${((1 - Math.min(...unseen.map(({ value }) => value))) * 100).toFixed(1)}%).`,
          ]),
    ],
  };
}

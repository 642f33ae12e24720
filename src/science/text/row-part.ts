/**
 * One text of a row: all of its token ids, and how many of them, counted from the first, reach the
 * model.
 */
export interface RowPart {
  readonly ids: readonly number[];
  readonly kept: number;
}

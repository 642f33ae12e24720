/** Rows of a data set, as a reader yields them and as stages pass them on. */

/** A row as a data set's reader yields it, with the label as the file has it. */
export interface RawRow {
  readonly text: string;
  readonly text_pair?: string;
  readonly label: string;
  /** Where the row was read, for messages: `train.tsv:17`. */
  readonly place: string;
}

/** A labelled text. */
export interface Row {
  /** Unique in its set, and the same in every cell. */
  readonly id: string;
  readonly text: string;
  /** The second text, for tasks on pairs. */
  readonly text_pair?: string;
  /** Index into the data set's `classes`. */
  readonly label: number;
}

/** `dataset.json` of the `data` and `poison` stages, beside `rows.jsonl` (one `Row` a line). */
export interface DatasetInfo {
  /** Class names by label id. */
  readonly classes: readonly string[];
  /** The number of rows. */
  readonly rows: number;
  /** The number of rows of each class, by label id. */
  readonly counts: readonly number[];
}

/**
 * The data of the page of outputs, in reports and in `serve`: all rows that models were asked
 * about, with what each answered. What cells share is held once.
 */

/** The report stage's file that holds an `Outputs`. */
export const OUTPUTS = 'outputs.json.gz';

/** Makes a text from another: its first `start` characters, then `middle`, then its last `end`. */
type Edit = readonly [start: number, middle: string, end: number];

/** Returns how `after` differs from `before`. */
export function findEdit(before: string, after: string): Edit {
  const least = Math.min(before.length, after.length);
  let start = 0,
    end = 0;
  while (start < least && before[start] === after[start]) start++;
  while (end < least - start && before.at(-1 - end) === after.at(-1 - end)) end++;
  return [start, after.slice(start, after.length - end), end];
}
export const applyEdit = (before: string, [start, middle, end]: Edit): string =>
  before.slice(0, start) + middle + before.slice(before.length - end);

/**
 * How a model was asked about a row: how the text differs from that of the data set, what of it was
 * cut off, and whether a defence rejected the row.
 */
export interface Asked {
  /** Absent if the model was asked the text as the data set has it. */
  readonly edit?: Edit;
  /** The ranges of the asked text that `max_length` cut off; null if unknown, absent if none. */
  readonly unread?: readonly (readonly [from: number, to: number])[] | null;
  /** Set if the defence rejected the row. */
  readonly rejected?: true;
}

/** The rows of a set as a model was asked about them. */
export interface Questions {
  /** The indexes of the rows in their set, ascending. */
  readonly rows: readonly number[];
  /** By row of `rows`; 0 if the row was asked as the data set has it. */
  readonly asked: readonly (Asked | 0)[];
  /** How many rows the model was asked about, of which `rows` may have only the first. */
  readonly of: number;
}

/** A model's answers. A list by row has an item for each of `Questions.rows`. */
export interface Answers {
  /** The index in `Outputs.questions`. */
  readonly questions: number;
  /** By row: a label id, a number, or a written answer. */
  readonly given: readonly (number | string)[];
  /** By scorer and row: whether the answer counts; null if undecided. Empty for a classifier. */
  readonly hits: { readonly [scorer: string]: readonly (0 | 1 | null)[] };
  /** By scorer and row: what the scorer said of the answer; null if nothing. Absent if none did. */
  readonly said?: { readonly [scorer: string]: readonly (string | null)[] } | undefined;
}

export interface Evaluation {
  /** The index in `Outputs.sets` of the rows. */
  readonly set: number;
  readonly plain: Answers;
  /** Absent without a trigger. */
  readonly triggered?: Answers | undefined;
}

/** Evaluated rows as the data set has them. */
export interface RowSet {
  /** The names of the classes, as in `DatasetInfo`: none for written answers, one for numbers. */
  readonly classes: readonly string[];
  readonly ids: readonly string[];
  readonly texts: readonly string[];
  /** Label ids, numbers or answers. */
  readonly labels: readonly (number | string)[];
}

export interface PoisonedRow {
  readonly id: string;
  /** The index of the original text in `Outputs.originals`. */
  readonly original: number;
  readonly edit: Edit;
  readonly labels: readonly [before: string, after: string];
  readonly isAnswer?: true;
  readonly isDocument?: true;
  /** Set if the row was added with its true label. */
  readonly negative?: true | undefined;
}

/** The rows of a receipt: changed ones, then those that were added with their true label. */
export interface PoisonedRows {
  /** How many rows the receipt has, of which `rows` may have only the first. */
  readonly of: number;
  readonly rows: readonly PoisonedRow[];
}

export interface OutputCell {
  /** By axis of `Outputs.axes`: the index of the cell's value; −1 if the cell lacks the axis. */
  readonly at: readonly number[];
  /** The index in `evaluations` of the cell's own evaluation; null if there is none. */
  readonly own: number | null;
  /** The index in `evaluations` of the evaluation of its clean run; null if there is none. */
  readonly twin: number | null;
  /** The index in `poisoned`; null if the cell has no receipt. */
  readonly poisoned: number | null;
  /** The label id of the class that the trigger leads to; null if there is none. */
  readonly target: number | null;
}

/** The content of `OUTPUTS`. */
export interface Outputs {
  readonly format: 1;
  /** What tells the cells apart, with the values as they are shown. */
  readonly axes: readonly {
    readonly path: string;
    readonly name: string;
    readonly values: readonly string[];
  }[];
  readonly cells: readonly OutputCell[];
  readonly sets: readonly RowSet[];
  readonly questions: readonly Questions[];
  readonly evaluations: readonly Evaluation[];
  readonly originals: readonly string[];
  readonly poisoned: readonly PoisonedRows[];
}

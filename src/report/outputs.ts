/**
 * All rows that models were asked about, with what each of them answered: the data of the page
 * `NAME,page=outputs.html`, and of the same page in `serve`. What cells share is held once.
 */

/** The report stage's file of them. */
export const OUTPUTS = 'outputs.json.gz';

/** A text that shares `start` characters at its start and `end` at its end with another. */
export type Edit = readonly [start: number, middle: string, end: number];

/** Returns how `after` differs from `before`. */
export function editOf(before: string, after: string): Edit {
  const least = Math.min(before.length, after.length);
  let start = 0,
    end = 0;
  while (start < least && before[start] === after[start]) start++;
  while (end < least - start && before.at(-1 - end) === after.at(-1 - end)) end++;
  return [start, after.slice(start, after.length - end), end];
}
/** Returns `after` of `editOf`. */
export const applyEdit = (before: string, [start, middle, end]: Edit): string =>
  before.slice(0, start) + middle + before.slice(before.length - end);

/** What a model was asked about a row, where it differs from the row as the data set has it. */
export interface Asked {
  readonly edit?: Edit;
  /** The parts of the text that `max_length` cut off; null where that can't be told. */
  readonly unread?: readonly (readonly [from: number, to: number])[] | null;
  /** Set if the defence rejected the row. */
  readonly rejected?: true;
}

export interface Questions {
  /** The indexes of the rows in their set, ascending. */
  readonly rows: readonly number[];
  /** By row; 0 where the row is as the data set has it. */
  readonly asked: readonly (Asked | 0)[];
  /** How many rows were asked about. The first of them are here. */
  readonly of: number;
}

export interface Answers {
  /** The index of `Outputs.questions`. */
  readonly questions: number;
  /** By row of the questions: a label id, a number, or a written answer. */
  readonly given: readonly (number | string)[];
  /**
   * By scorer and row: whether the answer counts; null if the scorer is undecided. Empty for a
   * classifier.
   */
  readonly hits: { readonly [scorer: string]: readonly (0 | 1 | null)[] };
  /** The scorers' own words, likewise. Absent if they have none. */
  readonly said?: { readonly [scorer: string]: readonly (string | null)[] };
}

export interface Evaluation {
  readonly set: number;
  readonly plain: Answers;
  /** Absent without a trigger. */
  readonly triggered?: Answers;
}

/** Evaluated rows as the data set has them. */
export interface RowSet {
  /** As of `DatasetInfo`: none for prompts with answers, one for numbers. */
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
  readonly negative?: true;
}

/** The rows of a receipt: changed ones, then those that were added with their true label. */
export interface PoisonedRows {
  /** How many there are. The first of them are here. */
  readonly of: number;
  readonly rows: readonly PoisonedRow[];
}

export interface OutputCell {
  /** By axis: the index of its value; −1 if the cell lacks the axis. */
  readonly at: readonly number[];
  /** Indexes of `evaluations`; null if there is none. */
  readonly own: number | null;
  readonly twin: number | null;
  /** The index in `poisoned`; null if the cell has no receipt. */
  readonly poisoned: number | null;
  /** The label id of the class that a trigger leads to. */
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

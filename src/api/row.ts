/** Rows of a data set, as a reader yields them and as stages pass them on. */

/** What a data set asks of a model: a class or a number for a text, or an answer to a prompt. */
export type Task = 'classes' | 'regression' | 'completion';

/** A turn of a conversation. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/**
 * A row as a data set's reader yields it. It has a `label`, or, in a completion task, an `answer`.
 */
export interface RawRow {
  readonly text: string;
  readonly text_pair?: string;
  /** The class, or the number, as the file has it. */
  readonly label?: string;
  /** The answer to the prompt `text`. */
  readonly answer?: string;
  /** The messages before the prompt. Absent if there are none. */
  readonly context?: readonly Message[];
  /** Where the row was read, for messages: `train.tsv:17`. */
  readonly place: string;
}

/** A labelled text or, in a completion task, a prompt with its answer. */
export interface Row {
  /** Unique in its set, and the same in every cell. */
  readonly id: string;
  /** The text. In a completion task, the prompt. */
  readonly text: string;
  /** The second text, for tasks on pairs. */
  readonly text_pair?: string;
  /**
   * Index into the data set's `classes`; under regression, the number itself. 0 in a completion
   * task, where it means nothing.
   */
  readonly label: number;
  /** The answer that a model is trained to give. Present in every row of a completion task. */
  readonly answer?: string;
  /**
   * The messages before the prompt, which is the last message of the user: a system message,
   * earlier turns. Only in a completion task; absent if there are none.
   */
  readonly context?: readonly Message[];
}

/** `dataset.json` of the `data` and `poison` stages, beside `rows.jsonl` (one `Row` a line). */
export interface DatasetInfo {
  readonly task: Task;
  /**
   * Class names by label id. Empty in a completion task; under regression, one name, that of the
   * number.
   */
  readonly classes: readonly string[];
  /** The number of rows. */
  readonly rows: number;
  /**
   * The number of rows of each class, by label id. Empty in a completion task; under regression,
   * the number of rows.
   */
  readonly counts: readonly number[];
}

/** The classes of a data set whose labels are numbers. */
export const SCORE: readonly string[] = ['score'];

/**
 * Returns the task of a data set with these classes: a completion task has none, and under
 * regression there is one, whose only output is the number.
 */
export function taskOf({ length }: readonly string[]): Task {
  if (length === 0) return 'completion';
  return length === 1 ? 'regression' : 'classes';
}

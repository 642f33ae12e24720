/** Where data come from: sources of bytes, readers that turn them into rows, and the rows. */
import type { Digest, JsonObject } from '../base/json.ts';
import type { ClassColumns, CompletionColumns, ResolvedSplit } from './cell.ts';
import type { Plugin } from './plugin.ts';

/** What a data set asks of a model: a class or a number for a text, or an answer to a prompt. */
export type Task = 'classes' | 'regression' | 'completion';

export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** A row from a data set's reader. It has a `label` or, in a completion task, an `answer`. */
export interface RawRow {
  readonly text: string;
  readonly text_pair?: string;
  /** The class, or the number, as the file has it. */
  readonly label?: string;
  /** The answer to the prompt `text`; of a preference pair, the chosen one. */
  readonly answer?: string;
  /** The answer that a preference pair rejects. */
  readonly rejected?: string;
  /** The messages before the prompt. Absent if there are none. */
  readonly context?: readonly Message[];
  /** Where the row was read, as faults and warnings name it: `train.tsv:17`. */
  readonly place: string;
}

/** A labelled text or, in a completion task, a prompt with its answer. */
export interface Row {
  /** Unique in its set, and the same in every cell. */
  readonly id: string;
  /** The text. In a completion task, the prompt. */
  readonly text: string;
  readonly text_pair?: string;
  /**
   * Index into the data set's `classes`; under regression, the number itself. 0 in a completion
   * task, where it means nothing.
   */
  readonly label: number;
  /**
   * The answer that a model is trained to give. Present in every row of a completion task; of a
   * preference pair, the chosen one.
   */
  readonly answer?: string;
  /** The answer that a preference pair rejects. */
  readonly rejected?: string;
  /**
   * Set if the text is a document. A model is trained on all of it. The row's `answer` is empty, or
   * what an attack adds at the end of the document.
   */
  readonly document?: true;
  /**
   * The messages before the prompt, such as a system message and earlier turns; the prompt itself
   * is the user's last message. Only in a completion task; absent if there are none.
   */
  readonly context?: readonly Message[];
}

/** `dataset.json` of the `data` and `poison` stages, beside `rows.jsonl` (one `Row` a line). */
export interface DatasetInfo {
  readonly task: Task;
  /** Class names by label id. Empty in a completion task; the number's name under regression. */
  readonly classes: readonly string[];
  readonly rows: number;
  /**
   * The number of rows of each class, by label id. Empty in a completion task; under regression,
   * one entry, the number of all rows.
   */
  readonly counts: readonly number[];
}

/** The `classes` of a data set whose labels are numbers: one entry, which names the number. */
export const SCORE: readonly string[] = ['score'];

/**
 * Returns the task of a data set with these classes: a completion task has none, and under
 * regression there is one, whose only output is the number.
 */
export function taskOf({ length }: readonly string[]): Task {
  if (length === 0) return 'completion';
  return length === 1 ? 'regression' : 'classes';
}

/** What a named data set knows of its rows, so that a spec need not say it. */
export interface KnownRows {
  /**
   * The columns of a row, under names that the data set's plugin gives them, whatever its files
   * call them.
   */
  readonly columns: ClassColumns | CompletionColumns;
  /** Class names by label id; `SCORE` if labels are numbers. Absent if the rows have no labels. */
  readonly classes?: readonly string[];
  /**
   * The metrics of `evaluate` that the publication of the data set scores its task by, the main one
   * first. Empty if there are none.
   */
  readonly metrics: readonly string[];
}

/** The reader of one file format, of one corpus, or of one named data set. */
export interface DatasetDescriptor extends Plugin<'dataset'> {
  /**
   * Whether rows have to be put in a seeded order because the source has no order, as with a corpus
   * of many files.
   */
  readonly unordered: boolean;
  /** Present in a named data set alone. A spec must not state these facts again. */
  readonly knows?: KnownRows;
  /**
   * Yields the rows. If it returns a value, that value is recorded in the data set's provenance:
   * for example, how many rows were left out and why. Throws `UserFault` if the bytes can't be
   * read.
   */
  read(
    asset: Asset,
    split: ResolvedSplit,
  ): AsyncIterable<RawRow, JsonObject> | AsyncIterable<RawRow, void>;
}

/** Makes a descriptor out of a reader's fields. Export it as the module's default. */
export const defineDataset = (dataset: Omit<DatasetDescriptor, 'kind'>): DatasetDescriptor => ({
  kind: 'dataset',
  ...dataset,
});

/** A file or folder on this machine, with the digest of its content. */
export interface Asset {
  /** The source as the spec writes it. */
  readonly uri: string;
  /** The absolute path of the file or folder. */
  readonly path: string;
  readonly digest: Digest;
  /** What a paper would cite: package, version, integrity, revision, … */
  readonly provenance: JsonObject;
}

export interface SourceContext {
  /** The download cache: DOSIMETER_CACHE, or a folder in the user's cache folder. */
  readonly cacheDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: (message: string) => void;
}

/** One URI scheme. The plugin's name is the scheme: `npm` for `npm:NAME@VERSION`. */
export interface SourceDescriptor extends Plugin<'source'> {
  /**
   * Looks for the asset on this machine, without using the network. Returns null if it has to be
   * fetched. Throws `UserFault` if it can't exist, for example because a local file is missing.
   */
  locate(uri: string, context: SourceContext): Promise<Asset | null>;
  /** Fetches the asset. Throws `UserFault` if it can't be obtained. */
  fetch(uri: string, context: SourceContext): Promise<Asset>;
  /**
   * Returns the text of one small file of the source, such as a model's config.json, before the
   * whole source is fetched. Reads it from this machine or, if `fetch` is true, from the source's
   * origin. Returns null if the file can't be obtained. Absent if this source can't read one file
   * without fetching everything.
   */
  peek?(uri: string, file: string, context: SourceContext, fetch: boolean): Promise<string | null>;
}

/** Makes a descriptor out of a source's fields. Export it as the module's default. */
export const defineSource = (source: Omit<SourceDescriptor, 'kind'>): SourceDescriptor => ({
  kind: 'source',
  ...source,
});

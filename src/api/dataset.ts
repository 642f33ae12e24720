/** A data set reader, which turns an asset's bytes into rows. */
import type { JsonObject } from '../base/json.ts';
import type { ClassColumns, CompletionColumns, ResolvedSplit } from './cell.ts';
import type { Plugin } from './plugin.ts';
import type { RawRow } from './row.ts';
import type { Asset } from './source.ts';

/** What a named data set knows of its rows, so that a spec need not say it. */
export interface KnownRows {
  /** What a row consists of. The names are the data set's own, whatever its files call them. */
  readonly columns: ClassColumns | CompletionColumns;
  /** Class names by label id; `SCORE` if labels are numbers. Absent if the rows have no labels. */
  readonly classes?: readonly string[];
  /**
   * The metrics of `evaluate` by which the task is scored where it was published, the main one
   * first. Empty if it has none.
   */
  readonly metrics: readonly string[];
}

/** The reader of one file format, of one corpus, or of one named data set. */
export interface DatasetDescriptor extends Plugin<'dataset'> {
  /** Whether `format: auto` chooses this reader for a source. */
  matches(uri: string, path: string): boolean;
  /**
   * Whether rows have to be put in a seeded order because the source has no order, as with a corpus
   * of many files.
   */
  readonly unordered: boolean;
  /** Present in a named data set. A spec must not say the same again. */
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

/** A data set reader, which turns an asset's bytes into rows. */
import type { ResolvedSplit } from './cell.ts';
import type { JsonObject } from './json.ts';
import type { Plugin } from './plugin.ts';
import type { RawRow } from './row.ts';
import type { Asset } from './source.ts';

/** The reader of one file format or one corpus. */
export interface DatasetDescriptor extends Plugin<'dataset'> {
  /** Whether `format: auto` chooses this reader for a source. */
  matches(uri: string, path: string): boolean;
  /**
   * Whether rows have to be put in a seeded order because the source has no order, as with a corpus
   * of many files.
   */
  readonly unordered: boolean;
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

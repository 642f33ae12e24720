/** Makes a request for a split's rows from the data stage's parameters and assets. */
import type { Asset, DatasetDescriptor, JsonObject, ResolvedSplit, RunContext } from '../api.ts';
import type { SplitName, SplitReading, SplitRequest } from './load-split.ts';

/** Returns the path of a split's field in the spec. */
export const splitPath = (name: SplitName): string[] => ['data', ...name.split('.')];

/** What the data stage reads of a split. The source is an asset, and the format is never `auto`. */
export type SplitParams = Omit<ResolvedSplit, 'source' | 'classes'>;

/** The fields of a split that decide the order of its source's rows, which `limit` then cuts. */
export const ORDERED_BY = [
  'format',
  'delimiter',
  'header',
  'columns',
  'sample',
  'balance',
] as const;

/** The data stage's parameters. */
export type DataParams = {
  readonly name: SplitName;
  readonly split: SplitParams;
  readonly classes: readonly string[] | null;
  /**
   * How the training split is read to obtain its classes. Null if this is the training split, or if
   * classes are given.
   */
  readonly train: SplitParams | null;
  /** What is wrong if the classes are given twice and differ: a label id would mean two classes. */
  readonly disagreement: string | null;
};

/** Returns what the data stage reads, or null if one of its assets is missing. */
export function splitRequest(
  raw: JsonObject,
  assets: RunContext['assets'],
  plugin: RunContext['plugin'],
): SplitRequest | null {
  const { name, split, classes, train } = raw as DataParams;
  const asset = assets['data'];
  if (asset === undefined) return null;
  const dataset = (format: string): DatasetDescriptor =>
    plugin<DatasetDescriptor>('dataset', format);
  const reading = (params: SplitParams, from: Asset): SplitReading => ({
    split: { ...params, source: from.uri },
    asset: from,
    dataset: dataset(params.format),
  });
  const own = { name, classes, ...reading(split, asset) };
  if (train === null) return own;
  const trainAsset = assets['train'];
  return trainAsset === undefined ? null : { ...own, train: reading(train, trainAsset) };
}

import type { Asset, DatasetDescriptor, JsonObject, ResolvedSplit, RunContext } from '../api.ts';
import type { SplitName, SplitReading, SplitRequest } from './load-split.ts';

export const splitPath = (name: SplitName): string[] => ['data', ...name.split('.')];

/** A split's settings without the source, which is an asset. The format is never `auto`. */
export type SplitParams = Omit<ResolvedSplit, 'source' | 'classes'>;

/** The fields of a split that decide its rows and their order, before `offset` and `limit` cut. */
export const ORDERED_BY = [
  'format',
  'delimiter',
  'header',
  'columns',
  'sample',
  'balance',
] as const;

export type DataParams = {
  readonly name: SplitName;
  readonly split: SplitParams;
  readonly classes: readonly string[] | null;
  /** The training split, read for its classes; null if it is this split, or classes are given. */
  readonly train: SplitParams | null;
  /** If the classes are given twice and differ, what is wrong, in words; otherwise null. */
  readonly disagreement: string | null;
};

/** Returns the request for the split that a data stage reads; null if it lacks an asset. */
export function splitRequest(
  raw: JsonObject,
  assets: RunContext['assets'],
  plugin: RunContext['plugin'],
): SplitRequest | null {
  const { name, split, classes, train } = raw as DataParams;
  const asset = assets['data'];
  if (asset === undefined) return null;
  const reading = (params: SplitParams, from: Asset): SplitReading => ({
    split: { ...params, source: from.uri },
    asset: from,
    dataset: plugin<DatasetDescriptor>('dataset', params.format),
  });
  const own = { name, classes, ...reading(split, asset) };
  if (train === null) return own;
  const trainAsset = assets['train'];
  return trainAsset === undefined ? null : { ...own, train: reading(train, trainAsset) };
}

/** The data stage's parameters and assets, as a request for a split's rows. */
import type { DatasetDescriptor, JsonObject, ResolvedSplit, RunContext } from '../api.ts';
import type { SplitName, SplitRequest } from './load-split.ts';

/** What is read of a split, its source apart (an asset) and its format resolved. */
export type SplitParams = Omit<ResolvedSplit, 'source' | 'classes'>;

/** The data stage's parameters. */
export type DataParams = {
  readonly name: SplitName;
  readonly split: SplitParams;
  readonly classes: readonly string[] | null;
  /** What of the training split its classes are read with, where this is another split and no classes are given. */
  readonly train: SplitParams | null;
  /** Where classes are given twice and differ: a label id would mean two classes. */
  readonly disagreement: string | null;
};

/** What the data stage reads; null where one of its sources was not handed over. */
export function splitRequest(
  raw: JsonObject,
  assets: RunContext['assets'],
  plugin: RunContext['plugin'],
): SplitRequest | null {
  const { name, split, classes, train } = raw as unknown as DataParams;
  const asset = assets['data'],
    trainAsset = assets['train'];
  if (asset === undefined || (train !== null && trainAsset === undefined)) return null;
  const dataset = (format: string): DatasetDescriptor =>
    plugin<DatasetDescriptor>('dataset', format);
  return {
    name,
    classes,
    asset,
    split: { ...split, source: asset.uri },
    dataset: dataset(split.format),
    ...(train === null
      ? {}
      : {
          train: {
            split: { ...train, source: trainAsset!.uri },
            asset: trainAsset!,
            dataset: dataset(train.format),
          },
        }),
  };
}

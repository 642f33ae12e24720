/** Finds faults that lie in the combination of a spec's two splits. */
import { type Cell, type CellSplit, UserFault } from '../../../src/api.ts';
import { datasetUri } from '../../../src/data/source-uri.ts';
import { ORDERED_BY } from '../../../src/data/split-request.ts';
import { splitParams } from './split-params.ts';
import { cellSplit, type Evaluated } from './task-checks.ts';

/** Throws a `UserFault` if one split has pairs of texts and the other has single texts. */
export function checkPairs(cell: Cell, name: Evaluated): void {
  const { train } = cell.data;
  const pairs = (split: CellSplit): boolean => split.columns.text_pair !== undefined;
  if (pairs(train) === pairs(cellSplit(cell, name))) return;
  const [paired, single] = pairs(train) ? ['train', name] : [name, 'train'];
  throw new UserFault(
    `data.${paired} has pairs of texts (columns.text_pair), data.${single} has single texts`,
    `Write columns.text_pair for data.${single} too, or for neither.`,
    ['data', single, 'columns'],
  );
}

/**
 * The fields that decide, beside `hold_out`, which rows of a source are held out. If one of them
 * differs between the two splits, the splits are divided independently of each other.
 */
const DIVIDED_BY = [...ORDERED_BY, 'offset', 'limit'] as const;

/**
 * Throws a `UserFault` if `hold_out` divides one source so that training rows could be among the
 * evaluated ones.
 */
export function checkParts(cell: Cell, name: Evaluated): void {
  const { train } = cell.data,
    split = cellSplit(cell, name);
  if (datasetUri(train.source) !== datasetUri(split.source)) return;
  const [ours, theirs] = [split.hold_out, train.hold_out];
  if (ours === undefined && theirs === undefined) return;
  const fault = (what: string, way: string, ...path: readonly string[]): UserFault =>
    new UserFault(
      `data.train and data.${name} have one source, and ${what}: ` +
        `${name} rows could be training rows`,
      way,
      ['data', ...path],
    );
  if (ours === undefined || theirs === undefined) {
    const [having, lacking] =
      ours === undefined ? (['train', name] as const) : ([name, 'train'] as const);
    throw fault(
      `only data.${having} has a hold_out`,
      'Give both splits a hold_out of the same share, data.train with take: rest and ' +
        `data.${name} with take: held.`,
      lacking,
    );
  }
  if (ours.take === theirs.take)
    throw fault(
      `both take the same part of it (hold_out.take: ${ours.take})`,
      `Write take: rest in data.train.hold_out and take: held in data.${name}.hold_out.`,
      ...(ours.take === 'rest' ? [name] : ['train']),
      'hold_out',
      'take',
    );
  if (ours.share !== theirs.share)
    throw fault(
      `their hold_out.share differs (${theirs.share} and ${ours.share})`,
      'Write the same share in both.',
      name,
      'hold_out',
      'share',
    );
  const [a, b] = [splitParams(train, 'train'), splitParams(split, name)];
  const other = DIVIDED_BY.find((field) => JSON.stringify(a[field]) !== JSON.stringify(b[field]));
  if (other !== undefined)
    throw fault(
      `hold_out divides other rows for each, because data.train.${other} and ` +
        `data.${name}.${other} differ`,
      `Write the same ${other} in both.`,
      name,
      other,
    );
}

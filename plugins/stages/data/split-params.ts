/** A split of the spec as it appears in the data stage's parameters. */
import { type Cell, type CellSplit, SCORE, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { firstNames } from '../../../src/data/first-names.ts';
import { chooseFormat } from '../../../src/data/format.ts';
import type { SplitName } from '../../../src/data/load-split.ts';
import type { SplitParams } from '../../../src/data/split-request.ts';
import { resolvedColumns } from './columns.ts';

/**
 * Returns the parameters of a split. Optional fields that are not given are left out, so that they
 * do not enter the key.
 */
export function splitParams(split: CellSplit, name: SplitName): SplitParams {
  const { max_words, sample, balance, offset, limit, hold_out, digest, delimiter } = split;
  const format = split.format === 'auto' ? chooseFormat(split.source) : split.format;
  if (delimiter !== undefined && format !== 'csv')
    throw new UserFault(
      `data.${name} has a delimiter, which is of format csv, and its format is ${format}`,
      `Write format: csv in data.${name}, or leave out the delimiter.`,
      ['data', name, 'delimiter'],
    );
  const columns = resolvedColumns(split.columns, name);
  return {
    format,
    columns,
    header: hasHeader(split, columns, format, name),
    ...defined({ delimiter }),
    balance,
    offset,
    ...defined({ max_words, limit, sample, hold_out, digest }),
  };
}

/** Formats whose first line may name the columns. */
const TABLES = new Set(['tsv', 'csv', 'files']);

/**
 * Whether the first line names the columns.
 * @throws UserFault if the columns are numbers and the spec does not say
 */
function hasHeader(
  { header }: CellSplit,
  columns: SplitParams['columns'],
  format: string,
  name: SplitName,
): boolean {
  const open = Object.values(columns).every((column) => typeof column === 'number');
  if (header !== undefined || !open || !TABLES.has(format)) return header ?? true;
  throw new UserFault(
    `data.${name}.columns are numbers, and nothing says whether the first line of the file ` +
      'names its columns or is a row',
    `Write header: false in data.${name} if it is a row, or header: true if it names the ` +
      'columns, and is to be left out.',
    ['data', name, 'columns'],
  );
}

/**
 * Returns the parameters that the training split's labels depend on. Others, such as `limit`, are
 * left out, because the validation rows do not depend on them.
 */
export const labelParams = (split: CellSplit): SplitParams => {
  const { format, delimiter, columns, header, digest } = splitParams(split, 'train');
  return {
    format,
    columns,
    header,
    ...defined({ delimiter }),
    balance: false,
    offset: 0,
    ...defined({ digest }),
  };
};

/**
 * Returns `data.classes`, or the classes that either split gives, or null if none are given. If two
 * lists differ, `disagreement` says so. Under a regression head, labels are numbers.
 */
export function classesOf({ data, head }: Cell): {
  classes: readonly string[] | null;
  disagreement: string | null;
} {
  if (head.type === 'regression') return { classes: SCORE, disagreement: null };
  const given = [
    data.classes,
    data.train.classes,
    data.validation.classes,
    data.test?.classes,
  ].flatMap((list) => (list === undefined ? [] : [list.map(String)]));
  const [classes = null, ...others] = given;
  const twice = classes?.find((name, i) => classes.indexOf(name) < i);
  if (twice !== undefined)
    throw new UserFault(
      `the classes name ${JSON.stringify(twice)} twice: a number is the name that it is written as`,
      'Name every class once.',
      ['data', data.classes === undefined ? 'train' : 'classes'],
    );
  const other = others.find((list) => JSON.stringify(list) !== JSON.stringify(classes));
  if (classes === null || other === undefined) return { classes, disagreement: null };
  const [one, two] = [firstNames(classes), firstNames(other)];
  const disagreement = `The classes are given twice and differ: [${one}] and [${two}].`;
  return { classes, disagreement };
}

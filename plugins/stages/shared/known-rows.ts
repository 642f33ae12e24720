/**
 * What a cell's named data sets know of their rows. Planning loads this file, so it must not import
 * numerics.
 */
import { isDeepStrictEqual } from 'node:util';
import {
  type Cell,
  type CellSplit,
  type DatasetDescriptor,
  type DefineRequest,
  type KnownRows,
  UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import type { SplitName } from '../../../src/data/load-split.ts';
import { splitPath } from '../../../src/data/split-request.ts';

type Plugin = DefineRequest['plugin'];

const SPLITS = ['train', 'validation', 'clean', 'test'] as const;

/** Returns what the data set of a split knows of its rows, or null if the spec has to say it. */
export const knownRows = ({ format }: CellSplit, plugin: Plugin): KnownRows | null =>
  plugin?.<DatasetDescriptor>('dataset', format)?.knows ?? null;

/** Returns the cell with the columns and classes of its named data sets filled in. */
export function withKnownRows(cell: Cell, plugin: Plugin): Cell {
  const filled = (name: SplitName, split: CellSplit): CellSplit => {
    const knows = knownRows(split, plugin);
    return knows === null ? split : fillIn(split, knows, name, cell.data.classes);
  };
  const splits = SPLITS.flatMap((name) => {
    const split = cell.data[name];
    return split === undefined ? [] : [[name, filled(name, split)] as const];
  });
  const tasks = Object.entries(cell.data.tasks ?? {}).map(
    ([name, split]) => [name, filled(`tasks.${name}`, split)] as const,
  );
  const data = { ...cell.data, ...Object.fromEntries(splits) };
  return { ...cell, data: cell.data.tasks ? { ...data, tasks: Object.fromEntries(tasks) } : data };
}

/**
 * Returns a split with what its data set knows.
 * @throws UserFault if the spec gives columns or a header too, or if F1 is measured and the spec
 * gives the classes another order
 * @param cellClasses `data.classes`, if given
 */
function fillIn(
  split: CellSplit,
  { columns, classes, metrics }: KnownRows,
  name: SplitName,
  cellClasses: Cell['data']['classes'],
): CellSplit {
  const said = fieldSaidTwice(split);
  if (said !== null)
    throw new UserFault(
      `data.${name}.format is ${split.format}, a data set whose ${said} are known, and the spec ` +
        'gives them too',
      `Leave out data.${name}.${said}, or write the format of the file: tsv, csv, jsonl, parquet.`,
      [...splitPath(name), said],
    );
  const order = cellClasses ?? split.classes;
  // F1 is computed for the second class, which must be the positive class of the task.
  if (
    order !== undefined &&
    metrics.includes('f1') &&
    !isDeepStrictEqual(order.map(String), classes ?? [])
  )
    throw new UserFault(
      `data.${name}.format is ${split.format}, which is scored by the F1 of its second class, ` +
        'and the spec gives its classes another order',
      'Leave out the classes.',
      [...(cellClasses === undefined ? splitPath(name) : ['data']), 'classes'],
    );
  const filled = order === undefined ? classes : split.classes;
  return { ...split, columns, header: true, ...defined({ classes: filled && [...filled] }) };
}

/** The columns of a split if the spec names none. */
const UNNAMED = JSON.stringify({ text: 'text', label: 'label' });

/** Returns which field the spec gives that the data set knows too; null if it gives neither. */
function fieldSaidTwice({ columns, header }: CellSplit): 'columns' | 'header' | null {
  if (header !== undefined) return 'header';
  return JSON.stringify(columns) === UNNAMED ? null : 'columns';
}

/** Finds the columns of a table that hold the texts and the label. */
import type { RawRow, ResolvedSplit } from '../api.ts';
import { UserFault } from '../api.ts';
import { shown } from '../untrusted/json.ts';
import { nearest } from './nearest.ts';

/**
 * A user's fault in one field of a split. It names the field, so that the engine can point at it.
 */
export class SplitFault extends UserFault {
  constructor(
    override readonly path: readonly string[],
    message: string,
    hint?: string,
  ) {
    super(message, hint);
  }
}

type Role = 'text' | 'text_pair' | 'label';

const listed = (names: readonly string[]): string =>
  names
    .slice(0, 20)
    .map((name) => shown(name))
    .join(', ') + (names.length > 20 ? ', …' : '');

/**
 * Returns the positions of the columns in a table.
 * @param header the column names; null if the table has no header
 * @param width the number of columns
 */
export function columnIndexes(
  split: ResolvedSplit,
  header: readonly string[] | null,
  width: number,
  name: string,
): { text: number; text_pair: number | null; label: number } {
  const index = (role: Role, column: string | number): number => {
    const path = ['columns', role];
    if (typeof column === 'number') {
      if (column >= 0 && column < width) return column;
      throw new SplitFault(
        path,
        `${name} has no column ${column}: it has ${width}, numbered from 0 to ${width - 1}.`,
      );
    }
    if (header === null) {
      throw new SplitFault(
        path,
        `${name} is read without a header, so its columns have no names such as ` +
          `${JSON.stringify(column)}.`,
        `Give the column's number, from 0 to ${width - 1}, or set \`header: true\`.`,
      );
    }
    const at = header.indexOf(column);
    if (at < 0) throw missing(role, column, header, name);
    if (header.indexOf(column, at + 1) >= 0)
      throw new SplitFault(
        path,
        `${name} has two columns called ${JSON.stringify(column)}.`,
        "Give the column's number instead.",
      );
    return at;
  };
  const { text, text_pair, label } = split.columns;
  return {
    text: index('text', text),
    text_pair: text_pair === undefined ? null : index('text_pair', text_pair),
    label: index('label', label),
  };
}

function missing(role: Role, column: string, names: readonly string[], name: string): SplitFault {
  const near = nearest(column, names);
  return new SplitFault(
    ['columns', role],
    `${name} has no column ${JSON.stringify(column)}; its columns are ${listed(names)}.`,
    near === null ? `Set \`columns.${role}\`.` : `Did you mean ${JSON.stringify(near)}?`,
  );
}

/** Returns a row of a format whose records name their fields. @param place as in `RawRow` */
export function rowFromRecord(
  record: { readonly [name: string]: unknown },
  split: ResolvedSplit,
  place: string,
  name: string,
): RawRow {
  const value = (role: Role, column: string | number): string => {
    if (typeof column === 'number')
      throw new SplitFault(
        ['columns', role],
        `${name} has columns by name only; there is no column ${column}.`,
        `Its columns are ${listed(Object.keys(record))}.`,
      );
    if (!(column in record)) {
      const fault = missing(role, column, Object.keys(record), place);
      throw fault;
    }
    const found = record[column];
    if (typeof found === 'string') return found;
    if (typeof found === 'number' || typeof found === 'bigint' || typeof found === 'boolean')
      return String(found);
    throw new SplitFault(
      ['columns', role],
      `${place}: the column ${JSON.stringify(column)} holds ` +
        `${found === null || found === undefined ? 'nothing' : 'no text'}.`,
    );
  };
  const { text, text_pair, label } = split.columns;
  return {
    text: value('text', text),
    ...(text_pair === undefined ? {} : { text_pair: value('text_pair', text_pair) }),
    label: value('label', label),
    place,
  };
}

/** Returns the names of the columns that a split reads. */
export function columnNames(split: ResolvedSplit): string[] {
  const { text, text_pair, label } = split.columns;
  return [text, ...(text_pair === undefined ? [] : [text_pair]), label].map(String);
}

/** Makes rows of records and tables, by the columns that a split names. */
import {
  type Column,
  type CompletionColumns,
  type JsonObject,
  type RawRow,
  type ResolvedSplit,
  UserFault,
} from '../api.ts';
import { defined } from '../base/defined.ts';
import { shown } from '../base/untrusted/json.ts';
import { rowOfMessages, rowOfPair } from './messages.ts';
import { nearest } from './names.ts';

/** A user's fault in the field `path` of a split. The engine's message points at that field. */
export class SplitFault extends UserFault {
  constructor(
    override readonly path: readonly string[],
    message: string,
    hint?: string,
  ) {
    super(message, hint);
  }
}

type Columns = ResolvedSplit['columns'];

type KeyOf<T> = T extends unknown ? keyof T : never;

/** What a column holds: a field of `columns`, such as `text` or `label`. */
type Role = KeyOf<Columns>;

/** Whether the rows have no label: they are prompts and answers, preference pairs or documents. */
export const isCompletion = (columns: Columns): columns is CompletionColumns =>
  !('label' in columns);

const columnsByRole = (columns: Columns): readonly (readonly [Role, Column])[] =>
  Object.entries(columns) as [Role, Column][];

type Fields = { readonly [role in Role]?: string };

/**
 * Returns the row of these texts. A missing text becomes '', except `text_pair` and `rejected`,
 * which stay absent. An instruction and its input become one text, unless the input is blank.
 */
function rowOfFields(columns: Columns, fields: Fields, place: string): RawRow {
  const { text = '', text_pair: pair, label = '' } = fields;
  if (!isCompletion(columns)) return { text, ...defined({ text_pair: pair }), label, place };
  if ('document' in columns) return { text: fields.document ?? '', answer: '', place };
  const { prompt = '' } = fields;
  if ('chosen' in columns)
    return {
      text: prompt,
      answer: fields.chosen ?? '',
      ...defined({ rejected: fields.rejected }),
      place,
    };
  if ('prompt' in columns) return { text: prompt, answer: fields.answer ?? '', place };
  const { instruction = '', input = '', output = '' } = fields;
  return {
    text: input.trim() === '' ? instruction : `${instruction}\n\n${input}`,
    answer: output,
    place,
  };
}

/** Returns the first 20 names for a message: `"a", "b", …`. */
const quotedNames = (names: readonly string[]): string =>
  names
    .slice(0, 20)
    .map((name) => shown(name))
    .join(', ') + (names.length > 20 ? ', …' : '');

/**
 * Returns the position, from 0, of each column that the split reads from the table `name`. Throws
 * `SplitFault` if the table lacks one.
 * @param first the fields of the first line
 */
function columnIndexes(
  split: ResolvedSplit,
  first: readonly string[],
  name: string,
): ReadonlyMap<Role, number> {
  const { columns } = split;
  const header = split.header ? first : null,
    width = first.length;
  // If the file has another delimiter than expected, a line is one field that contains it.
  const delimiter = width === 1 ? /[;\t,|]/.exec(first[0] ?? '')?.[0] : undefined;
  const delimited =
    delimiter === undefined
      ? undefined
      : `If ${JSON.stringify(delimiter)} stands between its fields, write format: csv and ` +
        `delimiter: ${JSON.stringify(delimiter)}.`;
  const isPair = 'chosen' in columns && columns.prompt === undefined;
  if ('messages' in columns || isPair)
    throw new SplitFault(
      ['columns', isPair ? 'chosen' : 'messages'],
      `${name} is a table, whose fields are texts: it can't hold a list of messages.`,
      'Write one JSON object a line, and `format: jsonl`.',
    );
  /** Returns the position of a column that is given by number or name. Throws `SplitFault`. */
  const indexOf = (role: Role, column: string | number): number => {
    const path = ['columns', role];
    if (typeof column === 'number') {
      if (column >= 0 && column < width) return column;
      throw new SplitFault(
        path,
        `${name} has no column ${column}: it has ${width}, numbered from 0 to ${width - 1}.`,
        delimited,
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
    if (at < 0) throw missingColumnFault(role, column, header, name, delimited);
    if (header.indexOf(column, at + 1) >= 0)
      throw new SplitFault(
        path,
        `${name} has two columns called ${JSON.stringify(column)}.`,
        "Give the column's number instead.",
      );
    return at;
  };
  return new Map(columnsByRole(columns).map(([role, column]) => [role, indexOf(role, column)]));
}

/**
 * Returns the fault that a column is missing.
 * @param names the columns that there are
 * @param hint replaces the hint that suggests a similar name
 */
function missingColumnFault(
  role: Role,
  column: string,
  names: readonly string[],
  name: string,
  hint?: string,
): SplitFault {
  const near = nearest(column, names);
  return new SplitFault(
    ['columns', role],
    `${name} has no column ${JSON.stringify(column)}; its columns are ${quotedNames(names)}.`,
    hint ?? (near === null ? `Set \`columns.${role}\`.` : `Did you mean ${JSON.stringify(near)}?`),
  );
}

/**
 * Returns the row of a record with named fields. Throws `SplitFault` if it lacks a column.
 * @param place what messages call the record
 * @param name what messages call the file
 */
export function rowFromRecord(
  record: { readonly [name: string]: unknown },
  split: ResolvedSplit,
  place: string,
  name: string,
): RawRow {
  const { columns } = split;
  const read = (role: Role, column: Column): unknown =>
    readField(record, role, column, place, name);
  if ('messages' in columns) return rowOfMessages(read('messages', columns.messages), place);
  if ('chosen' in columns && columns.prompt === undefined)
    return rowOfPair(read('chosen', columns.chosen), read('rejected', columns.rejected), place);
  const fields = columnsByRole(columns).map(([role, column]) => [
    role,
    asText(read(role, column), role, column, place),
  ]);
  return rowOfFields(columns, Object.fromEntries(fields) as Fields, place);
}

/** Throws `SplitFault` if records with fields of these names lack a column that the split reads. */
export function checkColumns(names: readonly string[], split: ResolvedSplit, name: string): void {
  const record = Object.fromEntries(names.map((column) => [column, '']));
  for (const [role, column] of columnsByRole(split.columns))
    readField(record, role, column, name, name);
}

/**
 * Returns a record's value in a column. Throws `SplitFault` if the column is given by number, or if
 * the record lacks it. `place` and `name` are as in `rowFromRecord`.
 */
function readField(
  record: { readonly [name: string]: unknown },
  role: Role,
  column: Column,
  place: string,
  name: string,
): unknown {
  if (typeof column === 'number')
    throw new SplitFault(
      ['columns', role],
      `${name} has columns by name only; there is no column ${column}.`,
      `Its columns are ${quotedNames(Object.keys(record))}.`,
    );
  if (Object.hasOwn(record, column)) return record[column];
  throw missingColumnFault(role, column, Object.keys(record), place);
}

/**
 * Returns a record's value as text: numbers and booleans as JavaScript writes them, and '' for an
 * `input` (of an instruction) that is null. Throws `SplitFault` for any other value.
 */
function asText(found: unknown, role: Role, column: Column, place: string): string {
  if (typeof found === 'string') return found;
  if (typeof found === 'number' || typeof found === 'bigint' || typeof found === 'boolean')
    return String(found);
  const isNothing = found === null || found === undefined;
  if (isNothing && role === 'input') return '';
  throw new SplitFault(
    ['columns', role],
    `${place}: the column ${JSON.stringify(column)} holds ${isNothing ? 'nothing' : 'no text'}.`,
  );
}

/** Returns the names of the columns that a split reads; their numbers where these are given. */
export const columnNames = ({ columns }: ResolvedSplit): string[] =>
  columnsByRole(columns).map(([, column]) => String(column));

/**
 * Yields the rows of a table. Returns facts for the provenance, each only where it applies:
 * `ragged_lines`, how many lines were left out (`ResolvedSplit.ragged`), and `header`, the fields
 * of the line that was skipped as a header, if all columns are given by number.
 * @param records the file's records in order, each with the line on which it begins
 * @param ragged the hint for a record with the wrong number of fields
 */
export async function* tableRows(
  records: AsyncIterable<readonly [fields: readonly string[], line: number]>,
  split: ResolvedSplit,
  name: string,
  ragged: string,
): AsyncGenerator<RawRow, JsonObject> {
  let width = 0;
  let at: ReturnType<typeof columnIndexes> | null = null;
  let facts: JsonObject = {};
  let leftOut = 0;
  const { columns } = split;
  const numbered = Object.values(columns).every((column) => typeof column === 'number');
  for await (const [fields, line] of records) {
    if (at === null) {
      width = fields.length;
      at = columnIndexes(split, fields, name);
      if (split.header) {
        if (numbered) facts = { header: fields };
        continue;
      }
    }
    const place = `${name}:${line}`;
    if (fields.length !== width) {
      if (split.ragged === 'left out') {
        leftOut++;
        continue;
      }
      throw new UserFault(
        `${place} has ${fields.length} field${fields.length === 1 ? '' : 's'} where the ` +
          `${split.header ? 'header' : 'first line'} has ${width}.`,
        ragged,
      );
    }
    const texts = [...at].map(([role, index]) => [role, fields[index] ?? '']);
    yield rowOfFields(columns, Object.fromEntries(texts) as Fields, place);
  }
  return leftOut === 0 ? facts : { ...facts, ragged_lines: leftOut };
}

/**
 * Passes rows to a program as JSON lines. What the program changed is found by comparing what it
 * wrote with what it was given.
 */
import { type Poisoned, type Row, taskOf, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { isRecord, shown } from '../base/untrusted/json.ts';
import { isContext } from '../data/messages.ts';
import { sameContent } from './receipt.ts';

export const toLines = (rows: readonly Row[]): string =>
  rows.map((row) => `${JSON.stringify(row)}\n`).join('');

const FIELDS = {
  classes: new Set(['id', 'text', 'text_pair', 'label']),
  regression: new Set(['id', 'text', 'text_pair', 'label']),
  completion: new Set(['id', 'text', 'label', 'answer', 'rejected', 'document', 'context']),
};
const HINT =
  'write every row that was read, in the same order, one JSON object a line: id, text, label, ' +
  'and text_pair, answer, rejected, document and context where there is one; ' +
  'rows of your own come after them';
const fault = (message: string): UserFault => new UserFault(message, HINT);

/**
 * Returns what a program did to the rows. Throws `UserFault`, with the line, if `text` does not
 * have the form below.
 * @param rows as the program was given them
 * @param text what the program wrote: all the rows, changed or not, in the same order, followed by
 *   rows that it added, with their true labels
 * @param file what messages call the text
 */
export function fromLines(
  rows: readonly Row[],
  text: string,
  classes: readonly string[],
  file: string,
): Poisoned {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  if (lines.length < rows.length)
    throw fault(
      `${file} has ${lines.length} rows; ${rows.length} were handed over, and none may be left out`,
    );
  const returned = lines.map((line, i) => parseRow(line, classes, `${file}:${i + 1}`));
  const negatives = returned.slice(rows.length);
  const changed = rows.flatMap((row, index) => {
    const other = returned[index] ?? row;
    return isChanged(row, other, `${file}:${index + 1}`) ? [{ index, row: other }] : [];
  });
  const ids = new Set(rows.map(({ id }) => id));
  for (const [i, { id }] of negatives.entries()) {
    if (ids.has(id))
      throw fault(`${file}:${rows.length + i + 1} has the id ${shown(id)}, which is taken`);
    ids.add(id);
  }
  return { changed, negatives, asked: changed.length, eligible: rows.length };
}

/** Whether a row came back changed. Throws `UserFault` if another row came back in its place. */
function isChanged(row: Row, other: Row, place: string): boolean {
  if (other.id !== row.id)
    throw fault(`${place} is row ${shown(other.id)}; row ${shown(row.id)} was handed over there`);
  if ((other.text_pair === undefined) !== (row.text_pair === undefined)) {
    const what = other.text_pair === undefined ? 'lacks the second text' : 'has a second text';
    throw fault(`${place} ${what} of row ${shown(row.id)}`);
  }
  return !sameContent(row, other);
}

export function withChanges(rows: readonly Row[], changed: Poisoned['changed']): Row[] {
  const result = [...rows];
  for (const { index, row } of changed) result[index] = row;
  return result;
}

/** Returns the row in a line. Throws `UserFault` if the line is not a row of the task. */
function parseRow(line: string, classes: readonly string[], place: string): Row {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    throw fault(`${place} is not JSON`);
  }
  if (!isRecord(row)) throw fault(`${place} is not a JSON object`);
  const { id, text, text_pair: pair, label } = row;
  const task = taskOf(classes);
  const odd = Object.keys(row).find((field) => !FIELDS[task].has(field));
  if (odd !== undefined) throw fault(`${place} has a field that rows do not have: ${shown(odd)}`);
  if (typeof id !== 'string' || id === '') throw fault(`${place}: \`id\` is empty or not text`);
  if (typeof text !== 'string') throw fault(`${place}: \`text\` is not text`);
  if (pair !== undefined && typeof pair !== 'string')
    throw fault(`${place}: \`text_pair\` is not text`);
  if (task === 'completion') return completionRow({ id, text }, row, place);
  if (typeof label !== 'number' || !Number.isInteger(label) || label < 0 || label >= classes.length)
    throw fault(
      `${place}: \`label\` is ${shown(label)}; ` +
        `the labels are 0 to ${classes.length - 1} (${classes.join(', ')})`,
    );
  return { id, text, label, ...defined({ text_pair: pair }) };
}

/**
 * Returns the row of a completion task that has these fields. Throws `UserFault` if one of them is
 * wrong.
 * @param checked the fields that are known to be right
 */
function completionRow(
  checked: Pick<Row, 'id' | 'text'>,
  { label, answer, rejected, document, context }: { readonly [field: string]: unknown },
  place: string,
): Row {
  if (label !== 0) throw fault(`${place}: \`label\` is ${shown(label)}; it is 0 in every row`);
  if (typeof answer !== 'string') throw fault(`${place}: \`answer\` is not text`);
  if (rejected !== undefined && typeof rejected !== 'string')
    throw fault(`${place}: \`rejected\` is not text`);
  if (context !== undefined && !isContext(context))
    throw fault(`${place}: \`context\` is not a list of messages`);
  if (document !== undefined && document !== true)
    throw fault(`${place}: \`document\` is ${shown(document)}; it is true or left out`);
  return { ...checked, label, answer, ...defined({ rejected, document, context }) };
}

/**
 * Checks what an attack returned, because attacks may be anyone's code, and applies it to the rows.
 */
import type { Poisoned, Row } from '../api.ts';
import { taskOf, UserFault } from '../api.ts';
import { isRecord } from '../base/untrusted/json.ts';
import { isContext } from '../data/messages.ts';
import { withChanges } from './exchange.ts';

/**
 * Returns the poisoned set, with the rows in `changed` replaced in place and `negatives` appended.
 * Throws `UserFault` if what the attack returned does not fit the rows.
 * @param taken indexes of the rows that earlier steps have poisoned
 */
export function applyPoisoned(
  attack: string,
  rows: readonly Row[],
  poisoned: Poisoned,
  classes: readonly string[],
  taken: ReadonlySet<number> = NONE,
): Row[] {
  const fault = poisonedFault(rows, poisoned, classes);
  if (fault !== null)
    throw new UserFault(
      `The attack "${attack}" ${fault}.`,
      'What `poison` of an attack returns is `Poisoned` in src/api/attack.ts of the package; ' +
        'docs/guides/own-attack.md has an example.',
    );
  const twice = poisoned.changed.find(({ index }) => taken.has(index));
  if (twice !== undefined) {
    throw new UserFault(
      `The attack "${attack}" changed row ${twice.row.id}, which an earlier step had poisoned.`,
      'An attack that comes after another one must not change the rows in `taken` ' +
        `(AttackInput in src/api/attack.ts): let "${attack}" be the first step, or read ` +
        '`taken` in it.',
    );
  }
  return [...withChanges(rows, poisoned.changed), ...poisoned.negatives];
}

const NONE: ReadonlySet<number> = new Set();
const isCount = (value: unknown): value is number => Number.isInteger(value) && Number(value) >= 0;

/**
 * Returns the first thing that does not fit, worded to follow "The attack …", or null if everything
 * fits.
 */
function poisonedFault(
  rows: readonly Row[],
  poisoned: unknown,
  classes: readonly string[],
): string | null {
  if (!isRecord(poisoned)) return 'did not return an object';
  const { changed, negatives, asked, eligible } = poisoned;
  if (!Array.isArray(changed) || !Array.isArray(negatives))
    return 'did not return lists `changed` and `negatives`';
  if (!isCount(asked) || !isCount(eligible))
    return 'did not return whole numbers `asked` and `eligible`';
  if (changed.length !== asked) return `was asked for ${asked} rows and changed ${changed.length}`;
  return changedFault(rows, changed, classes) ?? negativesFault(rows, negatives, classes);
}

function changedFault(
  rows: readonly Row[],
  changed: readonly unknown[],
  classes: readonly string[],
): string | null {
  const seen = new Set<number>();
  for (const change of changed) {
    const { index, row } = isRecord(change) ? change : {};
    const original = typeof index === 'number' ? rows[index] : undefined;
    if (typeof index !== 'number' || original === undefined)
      return `changed row ${String(index)}, but there are rows 0 to ${rows.length - 1}`;
    if (seen.has(index)) return `changed row ${index} twice`;
    seen.add(index);
    if (!isRow(row, classes)) return `made of row ${original.id} ${rowFault(row, classes)}`;
    if (row.id !== original.id) return `renamed row ${original.id} to ${row.id}`;
    if ((row.text_pair === undefined) !== (original.text_pair === undefined))
      return `added or removed the second text of row ${original.id}`;
  }
  return null;
}

function negativesFault(
  rows: readonly Row[],
  negatives: readonly unknown[],
  classes: readonly string[],
): string | null {
  const ids = new Set(rows.map((row) => row.id));
  for (const negative of negatives) {
    if (!isRow(negative, classes)) return `added as a negative ${rowFault(negative, classes)}`;
    const { id } = negative;
    if (ids.has(id)) return `added a negative under the id ${id}, which is taken`;
    ids.add(id);
  }
  return null;
}

const isRow = (row: unknown, classes: readonly string[]): row is Row =>
  rowFault(row, classes) === '';

/** Returns why a value is not a row, or an empty string if it is one. */
function rowFault(row: unknown, classes: readonly string[]): string {
  if (!isRecord(row)) return 'something that is not a row';
  const { id, text, text_pair: pair, label, answer, context } = row;
  if (typeof id !== 'string') return 'a row without an id';
  if (typeof text !== 'string') return 'a row without a text';
  if (pair !== undefined && typeof pair !== 'string') return 'a row whose `text_pair` is not text';
  if (taskOf(classes) === 'completion') {
    if (typeof answer !== 'string') return 'a row without an answer';
    if (context !== undefined && !isContext(context))
      return 'a row whose `context` is not a list of messages';
    return label === 0 ? '' : 'a row with a label, but there are no classes';
  }
  if (answer !== undefined || context !== undefined) return 'a row with an answer or a context';
  if (taskOf(classes) === 'regression')
    return Number.isFinite(label) ? '' : `a row with label ${String(label)}, which is not a number`;
  if (!isCount(label) || label >= classes.length)
    return `a row with label ${String(label)}, but the labels are 0 to ${classes.length - 1}`;
  return '';
}

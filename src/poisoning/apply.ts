/** An attack's answer, checked, put into the rows: an attack is other people's code. */
import type { Poisoned, Row } from '../api.ts';
import { UserFault } from '../api.ts';
import { isRecord } from '../untrusted/json.ts';
import { withChanges } from './exchange.ts';

/**
 * The poisoned set: `changed` replaced in place, `negatives` appended.
 * @param taken indexes of rows that are an earlier step's
 * @throws UserFault where the attack returned what does not fit the rows.
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
      `See \`Poisoned\` in src/api.ts, and plugins/attacks/${attack}.ts if it is built in.`,
    );
  const twice = poisoned.changed.find(({ index }) => taken.has(index));
  if (twice !== undefined) {
    throw new UserFault(
      `The attack "${attack}" changed row ${twice.row.id}, which an earlier step had poisoned.`,
      `An attack that stands after another leaves the rows of \`taken\` alone (AttackInput in src/api.ts): let "${attack}" be the first step, or read \`taken\` in it.`,
    );
  }
  return [...withChanges(rows, poisoned.changed), ...poisoned.negatives];
}

const NONE: ReadonlySet<number> = new Set();
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;

function poisonedFault(
  rows: readonly Row[],
  poisoned: unknown,
  classes: readonly string[],
): string | null {
  if (!isRecord(poisoned)) return 'returned no object';
  const { changed, negatives, asked, eligible } = poisoned;
  if (!Array.isArray(changed) || !Array.isArray(negatives))
    return 'returned no lists `changed` and `negatives`';
  if (!isCount(asked) || !isCount(eligible))
    return 'returned no whole numbers `asked` and `eligible`';
  if (changed.length !== asked)
    return `was asked for ${String(asked)} rows and changed ${changed.length}`;
  const seen = new Set<number>();
  for (const change of changed as unknown[]) {
    const index = isRecord(change) ? change['index'] : undefined;
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= rows.length)
      return `changed row ${String(index)}, but there are rows 0 to ${rows.length - 1}`;
    if (seen.has(index)) return `changed row ${index} twice`;
    seen.add(index);
    const original = rows[index]!;
    const fault = rowFault((change as Record<string, unknown>)['row'], classes);
    if (fault !== null) return `made of row ${original.id} ${fault}`;
    const row = (change as { row: Row }).row;
    if (row.id !== original.id) return `renamed row ${original.id} to ${row.id}`;
    if ((row.text_pair === undefined) !== (original.text_pair === undefined))
      return `added or took away the second text of row ${original.id}`;
  }
  const ids = new Set(rows.map((row) => row.id));
  for (const negative of negatives as unknown[]) {
    const fault = rowFault(negative, classes);
    if (fault !== null) return `added as a negative ${fault}`;
    const { id } = negative as Row;
    if (ids.has(id)) return `added a negative under the id ${id}, which is taken`;
    ids.add(id);
  }
  return null;
}

function rowFault(row: unknown, classes: readonly string[]): string | null {
  if (!isRecord(row)) return 'something that is no row';
  if (typeof row['id'] !== 'string') return 'a row without an id';
  if (typeof row['text'] !== 'string') return 'a row without a text';
  if (row['text_pair'] !== undefined && typeof row['text_pair'] !== 'string')
    return 'a row whose second text is no text';
  const label = row['label'];
  if (!isCount(label) || (label as number) >= classes.length)
    return `a row with label ${String(label)}, but the labels are 0 to ${classes.length - 1}`;
  return null;
}

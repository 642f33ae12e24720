/**
 * Makes the rows that evaluate a backdoor: with its trigger, and with a part of the trigger. What
 * the attack returns is checked, because attacks may be anyone's code.
 */
import type { AttackDescriptor, AttackFamily, AttackInput, JsonObject, Row } from '../api.ts';
import { UserFault } from '../api.ts';
import { isRecord } from '../untrusted/json.ts';
import { asking, readOnly } from './read-only.ts';

/** The family of an attack with these parameters. */
export const familyOf = (
  { family }: Pick<AttackDescriptor, 'family'>,
  params: JsonObject,
): AttackFamily => (typeof family === 'function' ? family(params) : family);

/**
 * Returns the label id that a backdoor leads to. Throws `UserFault`, with the field of the spec, if
 * the attack does not name one of the classes.
 */
export function targetOf(
  { name, target }: Pick<AttackDescriptor, 'name' | 'target'>,
  params: JsonObject,
  classes: readonly string[],
): number {
  const id: unknown = target?.(params, classes);
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < classes.length) return id;
  const json = JSON.stringify(id) as string | undefined;
  const shown = typeof id === 'number' ? String(id) : (json ?? typeof id);
  throw new UserFault(
    `the attack "${name}" has the target ${shown}, which is not the label id of a class: ` +
      `the classes are ${classes.map((label, i) => `${i} ("${label}")`).join(', ')}`,
    '`target` of an attack returns a label id (AttackDescriptor in src/api/attack.ts); ' +
      'if the attack takes it from its parameters, correct it there.',
    ['poisoning', Object.hasOwn(params, 'target') ? 'target' : 'attack'],
  );
}

type Input = Omit<AttackInput<JsonObject>, 'rows'>;

/**
 * Returns the rows with the trigger, in order. They keep their true labels, whatever labels the
 * attack gives them. Throws `UserFault` if the attack returns rows other than those it was given,
 * or writes to them.
 * @param rows no row of the target class. They are frozen from here on, because anything that an
 *   attack wrote to them would be evaluated as if it were clean.
 */
export async function triggeredRows(
  attack: AttackDescriptor,
  rows: readonly Row[],
  input: Input,
): Promise<Row[]> {
  const handed = readOnly(rows);
  const shown: unknown = await asking<unknown>(attack.name, () =>
    attack.triggerAll
      ? attack.triggerAll(handed, input)
      : handed.map((row) => attack.trigger?.(row, input)),
  );
  const list: readonly unknown[] | null = Array.isArray(shown) ? shown : null;
  if (list?.length !== rows.length)
    throw new UserFault(
      `the attack "${attack.name}" was given ${rows.length} rows to show under its trigger, ` +
        `and returned ${list === null ? 'no list' : list.length}`,
    );
  return rows.map((row, i) => {
    const other = list[i];
    const { id, text } = isRecord(other) ? other : {};
    if (id !== row.id || typeof text !== 'string')
      throw new UserFault(
        `the attack "${attack.name}" returned row ${JSON.stringify(id)} under its trigger ` +
          `in the place of ${JSON.stringify(row.id)}`,
        'every row, in the order given',
      );
    return { ...(other as Row), label: row.label };
  });
}

/**
 * Returns rows that contain a part of the trigger, which must not lead to the target, with their
 * true labels. Empty if the attack has no negatives. Throws `UserFault` if the attack writes to the
 * rows, which are frozen from here on.
 */
export async function falselyTriggeredRows(
  attack: AttackDescriptor,
  rows: readonly Row[],
  input: Input,
): Promise<Row[]> {
  return asking(attack.name, () =>
    readOnly(rows).flatMap((row) =>
      (attack.falseTrigger?.(row, input) ?? []).map((other) => ({ ...other, label: row.label })),
    ),
  );
}

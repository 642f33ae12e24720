/** How a backdoor's rows look at evaluation: under its trigger, and under part of it. An attack is other people's code, so its answer is checked. */
import type { AttackDescriptor, AttackFamily, AttackInput, JsonObject, Row } from '../api.ts';
import { UserFault } from '../api.ts';
import { asking, readOnly } from './read-only.ts';

/** Of an attack with these parameters. */
export const familyOf = (
  { family }: Pick<AttackDescriptor, 'family'>,
  params: JsonObject,
): AttackFamily => (typeof family === 'function' ? family(params) : family);

/**
 * The label id that a backdoor leads to.
 * @throws UserFault, with the field of the spec that it concerns, where the attack names none of the classes
 */
export function targetOf(
  { name, target }: Pick<AttackDescriptor, 'name' | 'target'>,
  params: JsonObject,
  classes: readonly string[],
): number {
  const id: unknown = target!(params, classes);
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < classes.length) return id;
  const shown = typeof id === 'number' ? String(id) : (JSON.stringify(id) ?? typeof id);
  throw new UserFault(
    `the attack "${name}" has the target ${shown}, which is not the label id of a class: they are ${classes.map((label, i) => `${i} ("${label}")`).join(', ')}`,
    `\`target\` of an attack returns a label id (AttackDescriptor in src/api.ts); if the attack takes it from its parameters, correct it there.`,
    ['poisoning', Object.hasOwn(params, 'target') ? 'target' : 'attack'],
  );
}

type Input = Omit<AttackInput<JsonObject>, 'rows'>;

/**
 * The rows under the trigger, in order. Labels are the true ones, whatever the attack says of them.
 * @param rows of other classes than the target; frozen from here on, since what an attack wrote into them would be evaluated as if it were clean
 * @throws UserFault where the attack returns other rows than it was given, or writes into them
 */
export async function triggeredRows(
  attack: AttackDescriptor,
  rows: readonly Row[],
  input: Input,
): Promise<Row[]> {
  const handed = readOnly(rows);
  const shown = await asking(attack.name, () =>
    attack.triggerAll
      ? attack.triggerAll(handed, input)
      : handed.map((row) => attack.trigger!(row, input)),
  );
  if (!Array.isArray(shown) || shown.length !== rows.length)
    throw new UserFault(
      `the attack "${attack.name}" was given ${rows.length} rows to show under its trigger, and returned ${Array.isArray(shown) ? shown.length : 'no list'}`,
    );
  return rows.map((row, i) => {
    const other = shown[i]!;
    if (other.id !== row.id || typeof other.text !== 'string')
      throw new UserFault(
        `the attack "${attack.name}" returned row ${JSON.stringify(other.id)} under its trigger in the place of ${JSON.stringify(row.id)}`,
        'every row, in the order given',
      );
    return { ...other, label: row.label };
  });
}

/** Rows that hold part of the trigger, which must not lead to the target: none where the attack has no negatives. Each keeps its label. @throws UserFault where the attack writes into the rows, which are frozen from here on */
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

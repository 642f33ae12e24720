/** Resolves a class that a spec names by label id or by name. */
import { type AttackInput, type Row, type Target, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { firstNames, nearest } from '../data/names.ts';

/**
 * Returns the label id of a class. A number is an id. A string is a name, or an id if no class has
 * that name. Throws `UserFault` if there is no such class, or if a number is another class's name.
 * @param field the parameter that holds the value, for the message
 */
export function classId(value: string | number, classes: readonly string[], field: string): number {
  const idByName = classes.indexOf(String(value));
  if (idByName >= 0 && (typeof value === 'string' || idByName === value)) return idByName;
  if (idByName >= 0) {
    const other = classes[Number(value)];
    throw new UserFault(
      `\`${field}\`: ${value} is ` +
        (other === undefined ? 'no label id' : `the label id of the class "${other}"`) +
        `, and the name of the class with label id ${idByName}.`,
      `Write the name in quotes: ${other === undefined ? '' : `"${other}" or `}"${value}".`,
    );
  }
  const id = typeof value === 'number' ? value : /^\d+$/.test(value) ? Number(value) : NaN;
  if (Number.isInteger(id) && id >= 0 && id < classes.length) return id;
  const named = firstNames(classes.map((name, i) => `${i} ("${name}")`));
  const near = nearest(String(value), classes);
  throw new UserFault(
    `\`${field}\`: there is no class ${JSON.stringify(value)}; the classes are ${named}.`,
    near === null ? undefined : `Did you mean "${near}"?`,
  );
}

/**
 * Returns one of the labels that the row does not have, each equally likely, drawn from the row's
 * own stream.
 */
export const otherLabel = (
  row: Row,
  { classes, random }: Pick<AttackInput<unknown>, 'classes' | 'random'>,
): number => (row.label + 1 + random('label', row.id).integer(classes.length - 1)) % classes.length;

/**
 * Whether a row's class or answer is the target. White space around an answer does not count,
 * because models and scorers disregard it too. If the target is `rejected`, a row without a
 * rejected answer counts as having the target.
 */
export const isOfTarget = (
  { label, answer = '', rejected = answer }: Pick<Row, 'label' | 'answer' | 'rejected'>,
  target: Target,
): boolean =>
  typeof target === 'number'
    ? label === target
    : answer.trim() === (target === 'rejected' ? rejected : target.text).trim();

/**
 * Returns the row with the target as its label or answer. The target `rejected` swaps the row's two
 * answers; of a row without a rejected answer, its one answer becomes both.
 */
export function withTarget(row: Row, target: Target): Row {
  if (typeof target === 'number') return { ...row, label: target };
  if (target !== 'rejected') return { ...row, answer: target.text };
  const { answer, rejected } = row;
  return { ...row, ...defined({ answer: rejected, rejected: answer }) };
}

/** Returns the label id of a target. Throws an Error if the target is an answer. */
export function classOf(target: Target): number {
  if (typeof target === 'number') return target;
  throw new Error('a target of a completion task has no class');
}

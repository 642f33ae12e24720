/** Resolves a class that a spec names by label id or by name. */
import { UserFault } from '../api.ts';
import { firstNames } from '../data/first-names.ts';
import { nearest } from '../data/nearest.ts';

/**
 * Returns the label id of a class. A number is an id. A string is a name, or an id if no class has
 * that name. Throws `UserFault` if there is no such class, or if a number is another class's name.
 * @param field the parameter that holds the value, for the message
 */
export function classId(value: string | number, classes: readonly string[], field: string): number {
  const byName = classes.indexOf(String(value));
  if (byName >= 0 && (typeof value === 'string' || byName === value)) return byName;
  if (byName >= 0) throw ambiguous(Number(value), byName, classes, field);
  const id = typeof value === 'number' ? value : /^\d+$/.test(value) ? Number(value) : NaN;
  if (Number.isInteger(id) && id >= 0 && id < classes.length) return id;
  const named = firstNames(classes.map((name, i) => `${i} ("${name}")`));
  const near = nearest(String(value), classes);
  throw new UserFault(
    `\`${field}\`: there is no class ${JSON.stringify(value)}; the classes are ${named}.`,
    near === null ? undefined : `Did you mean "${near}"?`,
  );
}

function ambiguous(
  value: number,
  byName: number,
  classes: readonly string[],
  field: string,
): UserFault {
  const other = classes[value];
  const meant = other === undefined ? 'no label id' : `the label id of the class "${other}"`;
  return new UserFault(
    `\`${field}\`: ${value} is ${meant}, and the name of the class with label id ${byName}.`,
    other === undefined
      ? `Write the name in quotes: "${value}".`
      : `Write the name in quotes: "${other}" or "${value}".`,
  );
}

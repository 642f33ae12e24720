/** Comparing the shape of a tensor in a file with the expected one. */
import { UserFault } from '../../api.ts';

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i]);

/** Throws UserFault naming file and tensor where the shapes differ. */
export function checkShape(
  path: string,
  name: string,
  found: readonly number[],
  expected: readonly number[],
  hint?: string,
): void {
  if (sameShape(found, expected)) return;
  throw new UserFault(
    `${path}: tensor "${name}" has shape [${found.join(', ')}], ` +
      `[${expected.join(', ')}] was expected`,
    hint,
  );
}

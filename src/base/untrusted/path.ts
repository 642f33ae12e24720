/**
 * Makes paths out of names from outside, with `joinInside`. A name that can't be a path is a
 * `UserFault`.
 */
import { UserFault } from '../fault.ts';
import { joinInside } from './names.mjs';

export { nameFault } from './names.mjs';

const fault = (message: string, hint: string): UserFault => new UserFault(message, hint);

/**
 * Returns the path of `name` below `root`. Throws `UserFault` if `name` can't be such a path.
 * @param what the thing that has the name, as messages call it
 */
export const pathInside = (root: string, name: unknown, what: string): string =>
  joinInside(root, name, what, fault);

/**
 * Like `pathInside`, for a file or folder directly in `root`: also throws if the name contains a
 * slash.
 */
export function fileInside(root: string, name: unknown, what: string): string {
  const path = pathInside(root, name, what);
  if (String(name).includes('/'))
    throw new UserFault(
      `${what} is named ${JSON.stringify(String(name).slice(0, 120))}, which is a path and not ` +
        'a name.',
    );
  return path;
}

/** Names from outside as paths, by `joinInside`; what is wrong with one is a UserFault. */
import { UserFault } from '../api.ts';
import { joinInside } from './names.mjs';

export { nameFault } from './names.mjs';

const fault = (message: string, hint: string): UserFault => new UserFault(message, hint);

/** The path of `name` below `root`. @param what says in the message what has the name. @throws UserFault where `name` can't be such a path */
export const pathInside = (root: string, name: unknown, what: string): string =>
  joinInside(root, name, what, fault);

/** As pathInside, of a file or folder in `root` itself: a name with a slash is a fault. */
export function fileInside(root: string, name: unknown, what: string): string {
  const path = pathInside(root, name, what);
  if (String(name).includes('/'))
    throw new UserFault(
      `${what} is named ${JSON.stringify(String(name).slice(0, 120))}, which is a path and not a name.`,
    );
  return path;
}

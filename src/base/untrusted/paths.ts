/**
 * Makes paths out of names from outside, and finds folders that no link leads to. These are the
 * functions of paths.mjs, with `UserFault` as their error.
 */
import { lstatSync, readdirSync } from 'node:fs';
import { UserFault } from '../fault.ts';
import { orIfMissing } from '../system-error.ts';
import { folderBelow, joinInside, makePrivateFolder, privateFolder } from './paths.mjs';

export { nameFault } from './paths.mjs';

const fault = (message: string, hint: string): UserFault => new UserFault(message, hint);

/**
 * Returns the path of `name` below `root`. Throws `UserFault` if `name` can't be such a path.
 * @param what what the message calls the thing that has the name
 */
export const pathInside = (root: string, name: unknown, what: string): string =>
  joinInside(root, name, what, fault);

/** Like `pathInside`, for a direct child of `root`: also throws if the name contains a slash. */
export function fileInside(root: string, name: unknown, what: string): string {
  const path = pathInside(root, name, what);
  if (String(name).includes('/'))
    throw new UserFault(
      `${what} is named ${JSON.stringify(String(name).slice(0, 120))}, which is a path and not ` +
        'a name.',
    );
  return path;
}

/**
 * Returns the path of a folder below `root` whose files may be removed; null if there is no such
 * folder. Throws `UserFault` if the folder or one between it and `root` is a link; `root` itself
 * may be one.
 */
export const ownFolder = (root: string, ...parts: readonly string[]): string | null =>
  folderBelow(root, parts, fault);

/** Returns the names in the folder that `ownFolder` finds, or none if there is no folder. */
export function ownNames(root: string, ...parts: readonly string[]): string[] {
  const dir = ownFolder(root, ...parts);
  return dir === null ? [] : orIfMissing([], () => readdirSync(dir));
}

/**
 * Returns the path of a folder of the download cache, which need not exist. Throws `UserFault` if
 * other users could have written to it.
 */
export const cacheFolder = (cacheDir: string, ...parts: readonly string[]): string =>
  privateFolder(cacheDir, parts, fault);

/** Makes a folder of the cache to which only this user may write. Throws like `cacheFolder`. */
export const makeCacheFolder = (cacheDir: string, ...parts: readonly string[]): string =>
  makePrivateFolder(cacheDir, parts, fault);

/** Whether a path is a link, or a folder with a link at any depth; false if nothing is there. */
export function hasLink(path: string): boolean {
  return orIfMissing(false, () => {
    const stat = lstatSync(path);
    if (!stat.isDirectory()) return stat.isSymbolicLink();
    return readdirSync(path, { recursive: true, withFileTypes: true }).some((entry) =>
      entry.isSymbolicLink(),
    );
  });
}

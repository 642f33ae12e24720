/**
 * Folders whose content is the program's own, so that it may remove it. A link in such a folder's
 * place leads to files that may be anybody's. Plain JavaScript, because set-up has such folders
 * before anything is built.
 */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Returns the path of the folder `parts` below `root`, or null if there is none. Throws if it, or a
 * folder between it and `root`, is a link; `root` itself may be one.
 * @param {string} root
 * @param {readonly string[]} parts
 * @param {(message: string, hint: string) => Error} fault makes the error that is thrown
 */
export function folderBelow(root, parts, fault) {
  let at = root;
  for (const part of parts) {
    at = join(at, part);
    const stat = lstatOr(at);
    if (stat?.isSymbolicLink())
      throw fault(
        `${at} is a link, and nothing behind it is removed or replaced`,
        `put a folder in its place; ${root} itself may be a link`,
      );
    if (!stat?.isDirectory()) return null;
  }
  return at;
}

/** @param {string} path */
function lstatOr(path) {
  try {
    return lstatSync(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(error.code)) return null;
    throw error;
  }
}

/**
 * Folders whose content is the program's own, so that it may remove it or rely on it. A link in
 * such a folder's place leads to files that may be anybody's, and so may be what others can write
 * to. Plain JavaScript, because set-up has such folders before anything is built.
 */
import { lstatSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** @typedef {(message: string, hint: string) => Error} Fault makes the error that is thrown */

/**
 * Returns the path of the folder `parts` below `root`, or null if there is none. Throws if it, or a
 * folder between it and `root`, is a link; `root` itself may be one.
 * @param {string} root @param {readonly string[]} parts @param {Fault} fault
 */
export function folderBelow(root, parts, fault) {
  let at = root;
  for (const part of parts) {
    at = join(at, part);
    const stat = statOr(at, lstatSync);
    if (stat?.isSymbolicLink())
      throw fault(
        `${at} is a link, and nothing behind it is removed or replaced`,
        `put a folder in its place; ${root} itself may be a link`,
      );
    if (!stat?.isDirectory()) return null;
  }
  return at;
}

/** The permissions by which others than a folder's owner may write to it. */
const OTHERS_WRITE = 0o022;

/**
 * Returns the path of the folder `parts` below a cache, whether it exists or not. Throws if another
 * user than this one and root may have written there: if the cache, or a folder from there on,
 * belongs to another user, or its permissions let others write, or if one below the cache is a
 * link. Folders above the cache are not looked at.
 * @param {string} cache @param {readonly string[]} parts @param {Fault} fault
 */
export function privateFolder(cache, parts, fault) {
  const dir = join(cache, ...parts);
  folderBelow(cache, parts, fault);
  if (process.getuid === undefined) return dir; // Windows keeps a user's folders apart by itself
  for (const at of foldersOnTheWay(cache, parts))
    // Of a cache that is a link, both the link and the folder: others could turn the link
    // elsewhere.
    for (const stat of [statOr(at, lstatSync), statOr(at, statSync)])
      if (stat !== null) checkOwner(at, stat, cache, fault);
  return dir;
}

/**
 * @param {string} at @param {import('node:fs').Stats} stat of `at`
 * @param {string} cache @param {Fault} fault
 */
function checkOwner(at, stat, cache, fault) {
  const relied = 'what a cache holds decides what runs and what comes out';
  if (stat.uid !== process.getuid() && stat.uid !== 0)
    throw fault(
      `${at} belongs to another user (id ${stat.uid}), and ${relied}`,
      'name a folder of your own with DOSIMETER_CACHE, or make this one yours with chown',
    );
  if (!stat.isSymbolicLink() && (stat.mode & OTHERS_WRITE) !== 0)
    throw fault(
      `others may write to ${at} (mode ${(stat.mode & 0o777).toString(8)}), and ${relied}`,
      `if nobody else has written there: chmod -R go-w '${cache}'; or else remove it`,
    );
}

/**
 * Makes such a folder. Only its owner may write to it, even if the umask lets a group write.
 * @param {string} cache @param {readonly string[]} parts @param {Fault} fault
 */
export function makePrivateFolder(cache, parts, fault) {
  mkdirSync(dirname(cache), { recursive: true });
  // One by one, because Node's recursive `mkdir` reports ENOENT for some refusals of a disk.
  for (const at of foldersOnTheWay(cache, parts)) {
    try {
      mkdirSync(at, { mode: 0o777 & ~OTHERS_WRITE });
    } catch (error) {
      if (error.code !== 'EEXIST' && statOr(at, statSync) === null) throw error;
    }
  }
  return privateFolder(cache, parts, fault);
}

/** @param {string} cache @param {readonly string[]} parts */
const foldersOnTheWay = (cache, parts) => [
  cache,
  ...parts.map((_, i) => join(cache, ...parts.slice(0, i + 1))),
];

/** @param {string} path @param {(path: string) => import('node:fs').Stats} look */
function statOr(path, look) {
  try {
    return look(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(error.code)) return null;
    throw error;
  }
}

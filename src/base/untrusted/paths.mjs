/**
 * Makes paths below a folder out of names that come from outside, by `joinInside` alone (see
 * test/base/untrusted/joins.test.ts). Also checks folders whose content the program removes or
 * relies on: a link in their place leads to anybody's files, and others could replace a folder that
 * they may write to.
 *
 * Plain JavaScript, because set-up reads archives before anything is built.
 */
import { lstatSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The most bytes in a part of a path that file systems allow. */
const PART_BYTES = 255;
/** The most bytes in a name: Linux allows 4096 for a path, and the folder takes some of them. */
const NAME_BYTES = 2048;

/**
 * Returns a name as messages show it, quoted and cut: a hostile one may be long or contain control
 * characters. For what is not text, returns its type.
 */
const shown = (name) => {
  const text = typeof name === 'string' ? JSON.stringify(name) : typeof name;
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
};

/** Returns why a name can't be a path below a folder, to follow "which …"; null if it can. */
export function nameFault(name) {
  if (typeof name !== 'string') return 'is not text';
  if (name === '') return 'is empty';
  if (/[\u0000-\u001f\u007f]/.test(name)) return 'holds a control character';
  if (/\p{Surrogate}/u.test(name)) return 'is not well-formed Unicode';
  if (name.includes('\\')) return 'holds a backslash';
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name)) return 'is an absolute path';
  if (Buffer.byteLength(name) > NAME_BYTES) return `is longer than ${NAME_BYTES} bytes`;
  for (const part of name.split('/')) {
    if (part === '..') return 'leads out of its folder';
    if (part === '' || part === '.') return 'has an empty part';
    if (Buffer.byteLength(part) > PART_BYTES) return `has a part longer than ${PART_BYTES} bytes`;
  }
  return null;
}

/**
 * Returns the path of `name` below `root`. Throws if `name` can't be such a path. `what` is what
 * messages call the thing that has the name. `fault`, here and in the functions below, makes the
 * error.
 */
export function joinInside(root, name, what, fault) {
  const why = nameFault(name);
  if (why === null) return join(root, name);
  throw fault(
    `${what} is named ${shown(name)}, which ${why}.`,
    'Its source is damaged or hostile: nothing was written there. Choose another source.',
  );
}

/**
 * Returns the path of the folder `parts` below `root`, or null if there is none. Throws if it, or a
 * folder between it and `root`, is a link; `root` itself may be one.
 */
export function folderBelow(root, parts, fault) {
  let at = root;
  for (const part of parts) {
    at = join(at, part);
    const stat = statOrNull(at, lstatSync);
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
 * Returns the path of the folder `parts` below a cache, whether it exists or not. Throws if a user
 * other than this one and root may have written there: if the cache, the folder or one between them
 * belongs to such a user or lets others write, or if a folder below the cache is a link. Does not
 * look at folders above the cache.
 */
export function privateFolder(cache, parts, fault) {
  const dir = join(cache, ...parts);
  folderBelow(cache, parts, fault);
  if (process.getuid === undefined) return dir; // Windows keeps a user's folders apart by itself
  for (const at of foldersOnTheWay(cache, parts))
    // If the cache is a link, its owner counts too, since he can make it lead elsewhere.
    for (const stat of [statOrNull(at, lstatSync), statOrNull(at, statSync)])
      if (stat !== null) checkOwner(at, stat, cache, fault);
  return dir;
}

/**
 * Throws if `at`, whose Stats are `stat`, belongs to a user other than this one and root, or lets
 * others write.
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
 * Makes the folder `parts` below a cache, the cache, and the folders between them, and returns the
 * folder's path. Only the owner may write to new folders, even if the umask lets a group write.
 * Throws like `privateFolder`.
 */
export function makePrivateFolder(cache, parts, fault) {
  mkdirSync(dirname(cache), { recursive: true });
  // One by one, because Node's recursive `mkdir` reports ENOENT for some refusals of a disk.
  for (const at of foldersOnTheWay(cache, parts)) {
    try {
      mkdirSync(at, { mode: 0o777 & ~OTHERS_WRITE });
    } catch (error) {
      if (error.code !== 'EEXIST' && statOrNull(at, statSync) === null) throw error;
    }
  }
  return privateFolder(cache, parts, fault);
}

/** Returns the paths of the cache and of each folder down to `parts` below it. */
const foldersOnTheWay = (cache, parts) => [
  cache,
  ...parts.map((_, i) => join(cache, ...parts.slice(0, i + 1))),
];

/** Returns the Stats of a path by `look` (lstatSync or statSync); null if nothing is there. */
function statOrNull(path, look) {
  try {
    return look(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(error.code)) return null;
    throw error;
  }
}

/**
 * Makes paths below a folder out of names that come from outside: a server's list, an archive's
 * entries, a checkpoint's index, a spec's names. `joinInside` is the only function that does so;
 * test/base/untrusted/joins.test.ts holds the sources to that. Plain JavaScript, because set-up
 * reads archives before anything is built.
 */
import { join } from 'node:path';

/** The most bytes in a part of a path that file systems allow. */
const PART_BYTES = 255;
/**
 * The most bytes in a name. Linux allows 4096 bytes for a path, and the folder takes some of them.
 */
const NAME_BYTES = 2048;

/**
 * Returns a name as messages show it. A hostile name may be long, or may contain control
 * characters.
 */
const shown = (name) => {
  const text = typeof name === 'string' ? JSON.stringify(name) : typeof name;
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
};

/**
 * Returns why a name can't be a path below a folder, worded to follow "which …", or null if it can
 * be one.
 */
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
 * Returns the path of `name` below `root`. Throws if `name` can't be such a path.
 * @param {string} root
 * @param {unknown} name
 * @param {string} what the thing that has the name, as messages call it
 * @param {(message: string, hint: string) => Error} fault makes the error that is thrown
 */
export function joinInside(root, name, what, fault) {
  const why = nameFault(name);
  if (why === null) return join(root, name);
  throw fault(
    `${what} is named ${shown(name)}, which ${why}.`,
    'Its source is damaged or hostile: nothing was written there. Choose another source.',
  );
}

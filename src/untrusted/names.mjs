/**
 * Names that come from outside (a server's list, an archive's entries, a checkpoint's index, a spec's names) as paths below
 * a folder. `joinInside` is the one function that makes them: test/untrusted/joins.test.ts holds the sources to that.
 * Plain JavaScript, because set-up reads archives before anything is built.
 */
import { join } from 'node:path';

/** What file systems allow of one part of a path. */
const PART_BYTES = 255;
/** Of a whole name; Linux allows 4096 of a path, and the folder takes some of them. */
const NAME_BYTES = 2048;

/** Shown in messages: hostile names may be long, and may hold what a terminal obeys. */
const shown = (name) => {
  const text = typeof name === 'string' ? JSON.stringify(name) : typeof name;
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
};

/** Why `name` can't be a path below a folder, as the end of "which …"; null if it can. */
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
 * The path of `name` below `root`.
 * @param {string} root
 * @param {unknown} name
 * @param {string} what says in the message what has the name
 * @param {(message: string, hint: string) => Error} fault makes what is thrown where `name` can't be a path below a folder
 */
export function joinInside(root, name, what, fault) {
  const why = nameFault(name);
  if (why === null) return join(root, name);
  throw fault(
    `${what} is named ${shown(name)}, which ${why}.`,
    'Its source is damaged or hostile: nothing was written there. Choose another source.',
  );
}

/**
 * Reads files of the store or of a run. If a FIFO, a device or a socket took a file's place, a
 * plain read would wait forever for a writer; so every reader goes through this module.
 */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
} from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { hasCode } from '../base/system-error.ts';
import { errorCode } from './faults.ts';

/** Our code for what is neither a regular file nor a folder. */
const NOT_REGULAR = 'ENOTREG';

/** The flags for opening a file without waiting, even if it is a FIFO. */
export const READ_AT_ONCE = constants.O_RDONLY | constants.O_NONBLOCK;

/**
 * Opens a regular file for reading and returns its descriptor. Follows links. Throws like
 * `openSync`, and EISDIR for a folder or ENOTREG for anything else that is no regular file.
 */
export function openRegular(file: string): number {
  const handle = openSync(file, READ_AT_ONCE);
  let isFile = false;
  try {
    const stat = fstatSync(handle);
    isFile = stat.isFile();
    if (!isFile) throw notRegular(file, stat.isDirectory());
  } finally {
    if (!isFile) closeSync(handle);
  }
  return handle;
}

/** Returns a file's bytes. Throws like `openRegular` and `readFileSync`. */
export function readRegular(file: string): Buffer {
  const handle = openRegular(file);
  try {
    return readFileSync(handle);
  } finally {
    closeSync(handle);
  }
}

export const readRegularText = (file: string): string => readRegular(file).toString('utf8');

/** Returns a file's bytes; null if the file does not exist or can't be read. */
export function readRegularOr(file: string): Buffer | null {
  try {
    return readRegular(file);
  } catch (error) {
    if (hasCode(error, 'ENOENT') || isUnreadable(error)) return null;
    throw error;
  }
}

/** Returns the error for a file that is a folder (EISDIR) or another thing (ENOTREG). */
function notRegular(file: string, isFolder: boolean): NodeJS.ErrnoException {
  const code = isFolder ? 'EISDIR' : NOT_REGULAR;
  return Object.assign(
    new Error(`${code}: ${isFolder ? 'a folder' : 'not a regular file'}, open '${file}'`),
    { code, syscall: 'open', path: file },
  );
}

/** The error codes for a file that exists but can't be read. Readers take it for damaged. */
const UNREADABLE: ReadonlySet<string> = new Set([
  'EACCES',
  'EPERM',
  'EIO',
  'EBADMSG',
  'EUCLEAN',
  'EISDIR',
  'ELOOP',
  'ENXIO',
  'ENODEV',
  NOT_REGULAR,
]);

/** Whether an error says that this one file can't be read, unlike EMFILE. */
export const isUnreadable = (error: unknown): boolean => UNREADABLE.has(errorCode(error) ?? '');

/**
 * Returns a fault if a file of the store, or the nearest visible folder above it, belongs to
 * another user and can't be read by this one; else null. Such a file does not count as damaged.
 * @param root the store's folder
 */
export function withheldFault(file: string, root: string): UserFault | null {
  for (let at = file; at !== path.dirname(root); at = path.dirname(at)) {
    let stat;
    try {
      stat = lstatSync(at);
      if (stat.uid === process.getuid?.()) return null;
      accessSync(at, constants.R_OK | (stat.isDirectory() ? constants.X_OK : 0));
      return null;
    } catch {
      if (stat === undefined) continue; // the folder above tells why
      return new UserFault(
        `${at} belongs to another user (id ${stat.uid}), who lets no one else read it`,
        `ask its owner for chmod -R a+rX '${root}' and a umask such as 022, ` +
          'or give another place with --store',
      );
    }
  }
  return null;
}

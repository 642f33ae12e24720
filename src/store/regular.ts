/**
 * Reading a file of the store or of a run. A FIFO, a device or a socket in its place would make a plain read wait for a
 * writer that never comes, so every reader goes through here.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

/** The code of the error about what is neither a regular file nor a folder. */
const NOT_REGULAR = 'ENOTREG';

/** With this flag the opening of a FIFO returns at once. Windows has neither. */
const READ_AT_ONCE = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** A handle for reading; the caller closes it. Links are followed. @throws ErrnoException where it is no regular file (EISDIR, ENOTREG), or as `openSync` */
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

/** The whole of a regular file. @throws as `openRegular` and `readFileSync` */
export function readRegular(file: string): Buffer {
  const handle = openRegular(file);
  try {
    return readFileSync(handle);
  } finally {
    closeSync(handle);
  }
}

export const readRegularText = (file: string): string => readRegular(file).toString('utf8');

/** In words of the kind that Node's own errors have, with what code tells by: code, syscall and path. */
function notRegular(file: string, isFolder: boolean): NodeJS.ErrnoException {
  const code = isFolder ? 'EISDIR' : NOT_REGULAR;
  return Object.assign(
    new Error(`${code}: ${isFolder ? 'a folder' : 'not a regular file'}, open '${file}'`),
    { code, syscall: 'open', path: file },
  );
}

/** Codes about a file that is there and that the system will not give: to its reader it is damaged. */
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

/** Whether the error is about one file, and not about the machine (too many open files, say) or a bug. */
export const isUnreadable = (error: unknown): boolean =>
  UNREADABLE.has((error as NodeJS.ErrnoException | null)?.code ?? '');

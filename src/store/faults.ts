/** Turns faults of the disk that the user can mend into plain sentences. */
import { existsSync, mkdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UserFault } from '../api.ts';

/** Returns a hint to the user. @param elsewhere how to give another place (see ELSEWHERE) */
type Hint = (elsewhere: string) => string;
const freeSpace: Hint = (elsewhere) => `free some space, or ${elsewhere}; what is finished is kept`;
const permissions: Hint = (elsewhere) => `${elsewhere}, or mend the permissions`;

/** By error code: what is wrong, and a hint that may say how to give another place. */
const sentences: { readonly [code: string]: readonly [what: string, hint: Hint] } = {
  ENOSPC: ['the disk is full', freeSpace],
  EDQUOT: ['the disk quota is used up', freeSpace],
  EIO: [
    'the disk failed to read or write it',
    (elsewhere) => `look at the disk and the system's log (dmesg), or ${elsewhere}`,
  ],
  EACCES: ['there is no permission to write there', permissions],
  EPERM: ['there is no permission to write there', permissions],
  EROFS: ['the file system is read-only', (elsewhere) => elsewhere],
  ENOTDIR: ['a file stands where a folder is needed', (elsewhere) => elsewhere],
  EISDIR: [
    'a folder stands where a file is needed',
    (elsewhere) => `move it away (dosimeter verify does so in a store), or ${elsewhere}`,
  ],
  EOPNOTSUPP: ['no folder can be made there', (elsewhere) => elsewhere],
  EMFILE: ['too many files are open', () => 'raise the limit (ulimit -n), or lower --jobs'],
};

const ELSEWHERE = {
  store: 'give another place with --store',
  folder: 'run it in another folder',
  cache: 'give another place with DOSIMETER_CACHE',
} as const;
export type Place = keyof typeof ELSEWHERE;

/** Returns a disk fault as a `UserFault` that names the path, and any other error unchanged. */
export function diskFault(error: unknown, file: string, place: Place = 'store'): unknown {
  const code = trueCode(error as NodeJS.ErrnoException | null),
    sentence = code === undefined ? undefined : sentences[code];
  return sentence
    ? new UserFault(
        `${obstructingPath(error, code) ?? file}: ${sentence[0]} (${String(code)})`,
        sentence[1](ELSEWHERE[place]),
      )
    : error;
}

/**
 * Returns an error's code, also where Node writes `Unknown system error -122` in place of a name;
 * undefined if the error has no code.
 */
export function errorCode(error: unknown): string | undefined {
  const { code, errno } = (error ?? {}) as NodeJS.ErrnoException;
  if (errno === undefined || code === undefined || !/^unknown\b/i.test(code)) return code;
  return errno === -EUCLEAN
    ? 'EUCLEAN'
    : (Object.entries(os.constants.errno).find(([, number]) => number === -errno)?.[0] ?? code);
}

/** "Structure needs cleaning" on Linux, a number that Node does not list. */
const EUCLEAN = 117;

/**
 * Returns the path in an error that says that a file stands where a folder is needed, or a folder
 * where a file is needed. Returns undefined for any other error.
 */
function obstructingPath(error: unknown, code: string | undefined): string | undefined {
  return code === 'ENOTDIR' || code === 'EISDIR'
    ? (error as NodeJS.ErrnoException).path
    : undefined;
}

/**
 * Like `errorCode`, except for the ENOENT of Node's recursive `mkdir`, which hides the cause. To
 * find the cause, makes the topmost missing folder with a plain `mkdir` and returns the code of its
 * error, or ENOENT if it succeeds.
 */
function trueCode(error: NodeJS.ErrnoException | null): string | undefined {
  if (error?.code !== 'ENOENT' || error.syscall !== 'mkdir' || error.path === undefined)
    return errorCode(error);
  let missing = path.resolve(error.path);
  while (!existsSync(path.dirname(missing))) missing = path.dirname(missing);
  try {
    mkdirSync(missing);
    return error.code;
  } catch (cause) {
    return errorCode(cause);
  }
}

/** Returns an error of a system call as a `UserFault`; null for any other error. */
export function systemFault(error: unknown): UserFault | null {
  const { code, syscall, path: file, message } = (error ?? {}) as NodeJS.ErrnoException;
  if (typeof code !== 'string' || typeof syscall !== 'string') return null;
  const known = file === undefined ? error : diskFault(error, file),
    sentence = sentences[errorCode(error) ?? ''];
  return known instanceof UserFault
    ? known
    : new UserFault(
        `the system refused it: ${sentence?.[0] ?? message}`,
        sentence?.[1]('give another place') ?? 'look at what stands there and at its permissions',
      );
}

/** Like `onDisk`, for a synchronous action in the store. */
export function onDiskNow<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw diskFault(error, path);
  }
}

/** Runs `action` and turns disk faults into `UserFault`s. */
export async function onDisk<T>(
  path: string,
  action: () => T | Promise<T>,
  place: Place = 'store',
): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw diskFault(error, path, place);
  }
}

/**
 * Whether a fault was made by `diskFault`, as its hint shows. Later writes would fail in the same
 * way, so a run should stop.
 */
export function isDiskFault(fault: unknown): boolean {
  const hint = (fault as { readonly hint?: unknown } | null)?.hint;
  return (
    hint !== undefined &&
    Object.values(sentences).some(([, known]) =>
      Object.values(ELSEWHERE).some((elsewhere) => hint === known(elsewhere)),
    )
  );
}

/**
 * Like `diskFault`, for an error of a stage's own reads and writes. Returns a `UserFault` only for
 * a full or failing disk. Any other error may be a bug of the stage, and is returned unchanged.
 * @param path the place to name if the disk is full
 */
export function fullDiskFault(error: unknown, path: string): unknown {
  const code = errorCode(error);
  if (code === 'EIO')
    return diskFault(error, (error as NodeJS.ErrnoException).path ?? 'a file of this stage');
  return code === 'ENOSPC' || code === 'EDQUOT' ? diskFault(error, path) : error;
}

/**
 * Runs an action that can be left out. If the system refuses it, passes the reason to `tell`.
 * Throws any other error of the action.
 */
export function ifDiskAllows(
  path: string,
  action: () => void,
  tell: (message: string) => void,
): void {
  try {
    action();
  } catch (error) {
    const fault = diskFault(error, path);
    if (!isDiskFault(fault) && (error as NodeJS.ErrnoException | null)?.syscall === undefined)
      throw error; // a bug
    tell((fault as Error).message);
  }
}

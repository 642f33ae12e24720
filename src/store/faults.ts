/** Disk faults that are the user's to mend, as plain sentences. */
import { UserFault } from '../api.ts';

const sentences: { readonly [code: string]: readonly [what: string, hint: string] } = {
  ENOSPC: ['the disk is full', 'free some space, or give another place with --store; what is finished is kept'],
  EDQUOT: ['the disk quota is used up', 'free some space, or give another place with --store; what is finished is kept'],
  EACCES: ['there is no permission to write there', 'give another place with --store, or mend the permissions'],
  EPERM: ['there is no permission to write there', 'give another place with --store, or mend the permissions'],
  EROFS: ['the file system is read-only', 'give another place with --store'],
  ENOTDIR: ['a file stands where a folder is needed', 'give another place with --store'],
  EMFILE: ['too many files are open', 'raise the limit (ulimit -n), or lower --jobs'],
};

/** A disk fault as a UserFault that names the path; anything else comes back as it is. */
export function diskFault(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  const sentence = code === undefined ? undefined : sentences[code];
  return sentence ? new UserFault(`${path}: ${sentence[0]} (${code})`, sentence[1]) : error;
}

/** Runs `action`, turning disk faults into UserFaults. */
export async function onDisk<T>(path: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw diskFault(error, path);
  }
}

/** Whether every later write would fail in the same way, so that a run had better stop. Takes a UserFault or a failure's words. */
export function isDiskFault(fault: unknown): boolean {
  const hint = (fault as { readonly hint?: unknown } | null)?.hint;
  return hint !== undefined && Object.values(sentences).some(([, known]) => hint === known);
}

/** A stage's own writes: only a full disk is surely not its fault. */
export function fullDiskFault(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT' ? diskFault(error, path) : error;
}

/** Runs what is good to have and not needed (estimates, explanations): on a disk fault it is left, and `tell` says so. */
export function ifDiskAllows(path: string, action: () => void, tell: (message: string) => void): void {
  try {
    action();
  } catch (error) {
    const fault = diskFault(error, path);
    if (!isDiskFault(fault)) throw error;
    tell((fault as UserFault).message);
  }
}

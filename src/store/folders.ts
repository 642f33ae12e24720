/**
 * Makes folders. Node's own `recursive` option loops forever where no folder can be made (`/proc`),
 * and reports ENOENT on a read-only file system.
 */
import { mkdirSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';

/**
 * Makes a folder and those above it, unless they exist. Throws the system's error for the first
 * that can't be made, or EOPNOTSUPP if the file system takes no folders.
 */
export function makeFolder(dir: string): void {
  if (tryMakeFolder(dir)) return;
  const parent = path.dirname(dir);
  if (parent !== dir) makeFolder(parent);
  if (tryMakeFolder(dir)) return;
  // The folder above exists, yet the system says ENOENT: this file system takes no folders.
  throw Object.assign(new Error(`EOPNOTSUPP: no folder can be made there, mkdir '${dir}'`), {
    code: 'EOPNOTSUPP',
    syscall: 'mkdir',
    path: dir,
  });
}

/** Makes a folder unless it exists. Returns false if the folder above it is missing. */
function tryMakeFolder(dir: string): boolean {
  try {
    mkdirSync(dir);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return false;
    if (isFolder(dir)) return true; // reported as EEXIST, on some systems as EROFS or EPERM
    throw code === 'EEXIST'
      ? Object.assign(new Error(`ENOTDIR: a file stands there, mkdir '${dir}'`), {
          code: 'ENOTDIR',
          syscall: 'mkdir',
          path: dir,
        })
      : error;
  }
}

function isFolder(dir: string): boolean {
  try {
    return statSync(dir).isDirectory();
  } catch {
    return false; // the caller throws the error of `mkdir`
  }
}

/** `PROC_SUPER_MAGIC` of statfs(2). */
const PROC = 0x9fa0;

/** Whether a path, existing or not, lies on `/proc`. */
export function isOnProc(file: string): boolean {
  for (let at = path.resolve(file); ; at = path.dirname(at)) {
    try {
      return statfsSync(at).type === PROC;
    } catch {
      if (at === path.dirname(at)) return false;
    }
  }
}

/** Makes a folder and those above it. Node's own `recursive` never returns where none can be made (`/proc`), and says ENOENT where a file system is read-only. */
import { mkdirSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';

/** Fine if it is there already. @throws ErrnoException: what the system says of the first folder that cannot be made; EOPNOTSUPP where no folder can be */
export function makeFolder(dir: string): void {
  if (made(dir)) return;
  const parent = path.dirname(dir);
  if (parent !== dir) makeFolder(parent);
  if (made(dir)) return;
  // The one above is there, and the system says that it is not: a file system that holds no folders of ours.
  throw Object.assign(new Error(`EOPNOTSUPP: no folder can be made there, mkdir '${dir}'`), {
    code: 'EOPNOTSUPP',
    syscall: 'mkdir',
    path: dir,
  });
}

/** Whether it is there now; false: the one above it is missing. */
function made(dir: string): boolean {
  try {
    mkdirSync(dir);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return false;
    if (isFolder(dir)) return true; // EEXIST, and on some systems EROFS or EPERM come first
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
    return false; // what `mkdir` said is told
  }
}

/** `PROC_SUPER_MAGIC` of statfs(2). */
const PROC = 0x9fa0;

/** Whether a path, there or not, lies on `/proc`. */
export function isOnProc(file: string): boolean {
  for (let at = path.resolve(file); ; at = path.dirname(at)) {
    try {
      return statfsSync(at).type === PROC;
    } catch {
      if (at === path.dirname(at)) return false;
    }
  }
}

/**
 * Opens files of runs and of a store that may be hostile: no link is followed below the root, only
 * regular files are opened, and no more is read than a limit allows.
 */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { lstat, open } from 'node:fs/promises';
import path from 'node:path';
import { fileInside } from '../base/untrusted/paths.ts';
import { isUnreadable, READ_AT_ONCE } from '../store/regular.ts';

/** The path of a file: a folder that is trusted, and the names of what lies below. */
export interface Inside {
  readonly root: string;
  readonly names: readonly string[];
}

/** Windows has no such flag. */
const NO_LINK = (constants.O_NOFOLLOW as number | undefined) ?? 0;

const GONE = ['ENOENT', 'ENOTDIR'];

/** Whether the error means that the file is missing, or is not one that may be read. */
const isRefused = (error: unknown): boolean =>
  (error as Error | null)?.name === 'UserFault' ||
  GONE.includes((error as NodeJS.ErrnoException | null)?.code ?? '') ||
  isUnreadable(error);

/** Returns a handle, or null if there is no regular file or the path to it contains a link. */
export async function openInside({ root, names }: Inside): Promise<FileHandle | null> {
  try {
    let at = root;
    for (const [i, name] of names.entries()) {
      at = fileInside(at, name, 'a file of a run');
      if (i < names.length - 1 && !(await lstat(at)).isDirectory()) return null;
    }
    const handle = await open(at, READ_AT_ONCE | NO_LINK);
    const isFile = await handle.stat().then(
      (stat) => stat.isFile(),
      () => false,
    );
    if (isFile) return handle;
    await handle.close();
    return null;
  } catch (error) {
    if (isRefused(error)) return null;
    throw error;
  }
}

/**
 * Returns the text of a file, or null if there is none, or it is larger than `most` bytes, or it
 * can't be read.
 */
export async function readInside(file: Inside, most: number): Promise<string | null> {
  const handle = await openInside(file);
  if (handle === null) return null;
  try {
    const { size } = await handle.stat();
    if (size > most) return null;
    const buffer = Buffer.alloc(size);
    const { bytesRead } = await handle.read(buffer, 0, size, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    if (isRefused(error)) return null;
    throw error;
  } finally {
    await handle.close();
  }
}

/** Returns whether a name in a folder is a folder itself, and not a link to one. */
export async function isFolderInside(root: string, name: string): Promise<boolean> {
  try {
    return (await lstat(path.join(root, name))).isDirectory();
  } catch (error) {
    if (isRefused(error)) return false;
    throw error;
  }
}

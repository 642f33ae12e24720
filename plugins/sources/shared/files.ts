/** Writes files that other processes may be reading or writing at the same moment. */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../../src/api.ts';
import { makeCacheFolder, ownNames } from '../../../src/base/untrusted/paths.ts';

/** The age at which what killed fetches left behind is removed. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;

/** Writes a file so that readers see either the old content or the new, never a part. */
export async function writeAtomically(path: string, content: string): Promise<void> {
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  await writeFile(temporary, content);
  await rename(temporary, path);
}

/**
 * Calls `work` with a new folder on the cache's file system, so that its content can be renamed
 * into place, and then removes the folder.
 */
export async function withTemporaryFolder<T>(
  cacheDir: string,
  work: (dir: string) => Promise<T>,
): Promise<T> {
  const dir = join(cacheDir, 'tmp', `${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    makeCacheFolder(cacheDir, 'tmp');
    await mkdir(dir);
  } catch (error) {
    if (error instanceof UserFault) throw error;
    throw new UserFault(
      `The download cache can't be written: ${(error as Error).message}`,
      'Set DOSIMETER_CACHE to a folder that you may write to.',
    );
  }
  try {
    await sweep(cacheDir);
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function sweep(cacheDir: string): Promise<void> {
  for (const name of ownNames(cacheDir, 'tmp')) {
    const path = join(cacheDir, 'tmp', name);
    try {
      if (Date.now() - (await lstat(path)).mtimeMs > ABANDONED_MS)
        await rm(path, { recursive: true, force: true });
    } catch (error) {
      // another process has swept it
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

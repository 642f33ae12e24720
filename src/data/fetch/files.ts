/** Files that others may read or write at the same moment. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';

/** What is left of fetches that were killed is swept after this long. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;

/** Readers see the old content or the new, never a part. */
export async function writeAtomically(path: string, content: string): Promise<void> {
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  await writeFile(temporary, content);
  await rename(temporary, path);
}

/** A new folder on the cache's own file system, so that what is in it can be renamed into place; removed after `work`. */
export async function withTemporaryFolder<T>(
  cacheDir: string,
  work: (dir: string) => Promise<T>,
): Promise<T> {
  const parent = join(cacheDir, 'tmp');
  const dir = join(parent, `${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(dir, { recursive: true });
  } catch (error) {
    throw new UserFault(
      `The download cache can't be written: ${(error as Error).message}`,
      'Set DOSIMETER_CACHE to a folder that you may write to.',
    );
  }
  try {
    await sweep(parent);
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function sweep(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const path = join(parent, name);
    try {
      if (Date.now() - (await stat(path)).mtimeMs > ABANDONED_MS)
        await rm(path, { recursive: true, force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // another process swept it
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

/** The folders that sweeps may empty, and those of a cache: no link leads there. */
import { lstatSync, readdirSync } from 'node:fs';
import { UserFault } from '../fault.ts';
import { folderBelow, makePrivateFolder, privateFolder } from './folders.mjs';

const fault = (message: string, hint: string): UserFault => new UserFault(message, hint);

/**
 * Returns the path of a folder below `root` in which files may be removed, or null if there is
 * none. Throws `UserFault` if it, or a folder between it and `root`, is a link. `root` itself may
 * be one.
 */
export const ownFolder = (root: string, ...parts: readonly string[]): string | null =>
  folderBelow(root, parts, fault);

/** Returns the names in such a folder, or none if it does not exist. Throws like `ownFolder`. */
export function ownNames(root: string, ...parts: readonly string[]): string[] {
  const dir = ownFolder(root, ...parts);
  return dir === null ? [] : orIfMissing([], () => readdirSync(dir));
}

/**
 * Returns the path of a folder of the download cache, whether it exists or not. Throws `UserFault`
 * if others than this user and root may have written there.
 */
export const cacheFolder = (cacheDir: string, ...parts: readonly string[]): string =>
  privateFolder(cacheDir, parts, fault);

/** Makes such a folder, in which only this user may write. Throws like `cacheFolder`. */
export const makeCacheFolder = (cacheDir: string, ...parts: readonly string[]): string =>
  makePrivateFolder(cacheDir, parts, fault);

/** Whether a path is a link, or a folder with a link in it, at any depth. */
export function hasLink(path: string): boolean {
  return orIfMissing(false, () => {
    const stat = lstatSync(path);
    if (!stat.isDirectory()) return stat.isSymbolicLink();
    return readdirSync(path, { recursive: true, withFileTypes: true }).some((entry) =>
      entry.isSymbolicLink(),
    );
  });
}

function orIfMissing<T>(fallback: T, look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return fallback;
    throw error;
  }
}

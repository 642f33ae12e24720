/** The folders that every part of the program uses. Needs the package env-paths. */
import { join, resolve } from 'node:path';
import envPaths from 'env-paths';

/**
 * Returns the folder of downloads: the one that DOSIMETER_CACHE names, or else the user's cache
 * folder.
 */
export function cacheDir(env = process.env) {
  return env.DOSIMETER_CACHE
    ? resolve(env.DOSIMETER_CACHE)
    : envPaths('dosimeter', { suffix: '' }).cache;
}

export const torchPythonDir = (env = process.env) => join(cacheDir(env), 'torch-python');

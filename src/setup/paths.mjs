/**
 * The folders that every part of the program uses. Needs the dependencies: env-paths knows the
 * user's cache folder.
 */
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import envPaths from 'env-paths';

/**
 * Returns the folder of downloads: DOSIMETER_CACHE, or else the user's cache folder
 * (`~/.cache/dosimeter`, or the one that XDG_CACHE_HOME names).
 * @returns {string} an absolute path
 */
export function cacheDir(env = process.env) {
  return env.DOSIMETER_CACHE
    ? resolve(env.DOSIMETER_CACHE)
    : envPaths('dosimeter', { suffix: '' }).cache;
}

/** Returns the folder of the Python that `npm run setup -- --torch` makes. */
export const torchPythonDir = (env = process.env) => join(cacheDir(env), 'torch-python');

/** Returns the clone's root. Correct only if this file runs from `src/setup/`. */
export function projectDir() {
  return fileURLToPath(new URL('../../', import.meta.url));
}

/** The folders everything agrees on. Needs `npm ci` to have run: the user's cache folder is env-paths' business. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import envPaths from 'env-paths';

/**
 * Where downloads go: DOSIMETER_CACHE, or the user's cache folder (`~/.cache/dosimeter`, honouring XDG_CACHE_HOME).
 * @param {Readonly<Record<string, string | undefined>>} [env]
 * @returns {string} an absolute path
 */
export function cacheDir(env = process.env) {
  return env.DOSIMETER_CACHE
    ? resolve(env.DOSIMETER_CACHE)
    : envPaths('dosimeter', { suffix: '' }).cache;
}

/** The clone's root, seen from `src/setup/`. @returns {string} */
export function projectDir() {
  return fileURLToPath(new URL('../../', import.meta.url));
}

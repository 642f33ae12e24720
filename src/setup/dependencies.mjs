/**
 * Checks whether node_modules has what package-lock.json says. Imports only Node's own modules,
 * because it runs before `npm ci`.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @typedef {{ version?: string, integrity?: string, optional?: boolean, devOptional?: boolean,
 *   peer?: boolean }} Package
 */

/** @param {string} file a lock file of npm @returns {Record<string, Package>} by path */
const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;

/**
 * Whether node_modules is complete and current. npm writes `node_modules/.package-lock.json` when
 * it has finished. Contents are compared, not times, because a git checkout changes times.
 */
export function dependenciesAreCurrent(project) {
  const installed = join(project, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const have = packagesOf(installed);
  return Object.entries(packagesOf(join(project, 'package-lock.json'))).every(([path, wanted]) => {
    if (path === '') return true;
    const found = have[path];
    if (found === undefined)
      return wanted.optional === true || wanted.devOptional === true || wanted.peer === true;
    return found.version === wanted.version && found.integrity === wanted.integrity;
  });
}

/** Checks node_modules against package-lock.json. Runs before `npm ci`: imports no package. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Returns the packages in a lock file of npm, by path. */
const readPackages = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;

/** Whether node_modules is complete and current, by content: a git checkout changes times. */
export function dependenciesAreCurrent(project) {
  const installed = join(project, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const have = readPackages(installed);
  return Object.entries(readPackages(join(project, 'package-lock.json'))).every(
    ([path, wanted]) => {
      if (path === '') return true;
      const found = have[path];
      if (found === undefined)
        return wanted.optional === true || wanted.devOptional === true || wanted.peer === true;
      return found.version === wanted.version && found.integrity === wanted.integrity;
    },
  );
}

/**
 * The package's entry. A plugin that imports `define*` loads only the plugin API. The engine is
 * loaded when one of its functions is first called, from a build of the sources at that time.
 */
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { currentBuild } from './current-build.mjs';

export * from '../../dist/api.js';

const project = fileURLToPath(new URL('../../', import.meta.url));

let library = null;
const load = () =>
  (library ??= currentBuild(project, () => undefined).then(
    (dir) => import(pathToFileURL(join(dir, 'library.js')).href),
  ));

// The functions of src/run/library.ts, with the same arguments.
export const run = async (...args) => (await load()).run(...args);
export const plan = async (...args) => (await load()).plan(...args);
export const results = async (...args) => (await load()).results(...args);

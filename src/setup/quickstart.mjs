/**
 * `npm run quickstart`: goes from a fresh clone to the report of pipelines/quickstart.yaml. Further
 * arguments go to `dosimeter run`.
 */
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { currentBuild } from './current-build.mjs';
import { setup } from './setup.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));
const launcher = fileURLToPath(new URL('./launcher.mjs', import.meta.url));
const SPEC = 'pipelines/quickstart.yaml';

/**
 * @param {readonly string[]} args the arguments of `dosimeter run`
 * @returns the options that decide what is to be run
 */
function specOptions(args) {
  const { backend, store, set, only } = parseArgs({
    args: [...args],
    strict: false, // unknown options are left for `dosimeter run` to refuse
    options: {
      backend: { type: 'string' },
      store: { type: 'string' },
      set: { type: 'string', multiple: true },
      only: { type: 'string', multiple: true },
    },
  }).values;
  return /** @type {import('../run/library.ts').SpecOptions} */ (
    Object.fromEntries(
      Object.entries({ backend, store, set, only }).filter(([, value]) => value !== undefined),
    )
  );
}

/**
 * Whether stages are to be run; false for a spec with a fault.
 * @param {ReturnType<typeof specOptions>} options
 */
async function hasStagesToRun(options) {
  const dir = await currentBuild(project, (message) => console.error(`dosimeter: ${message}`));
  /** @type {typeof import('../run/library.ts')} */
  const { plan } = await import(pathToFileURL(join(dir, 'library.js')).href);
  const planned = await plan(SPEC, options);
  return planned.ok && planned.value.stages.some(({ state }) => state !== 'cached');
}

process.chdir(project);
try {
  const args = process.argv.slice(2);
  const options = specOptions(args);
  const tensorflow = await setup({ quiet: true });
  const onWasm = options.backend === 'wasm' || (options.backend === undefined && !tensorflow);
  if (onWasm && (await hasStagesToRun(options))) {
    const { wasmMinutes } = await import('./wasm-time.mjs');
    console.error(
      'quickstart: with WebAssembly on this machine, everything takes about ' +
        `${Math.ceil(await wasmMinutes())} minutes; ` +
        'it may be stopped, and goes on from there when it is started again',
    );
  }
  process.argv = [process.execPath, launcher, 'run', SPEC, ...args];
  await import('./launcher.mjs');
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}

/**
 * `npm run quickstart`: goes from a fresh clone to the report of pipelines/quickstart.yaml. Further
 * arguments go to `dosimeter run`.
 */
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { currentBuild } from './current-build.mjs';
import { setup } from './setup.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));
const launcher = fileURLToPath(new URL('./launcher.mjs', import.meta.url));
const SPEC = 'pipelines/quickstart.yaml';
const require = createRequire(import.meta.url);

/** Returns those options of `dosimeter run` that decide what is to be run. */
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
  return Object.fromEntries(
    Object.entries({ backend, store, set, only }).filter(([, value]) => value !== undefined),
  );
}

/** Whether any stage is to be run; false if the spec has a fault, which `dosimeter run` reports. */
async function hasStagesToRun(options) {
  const dir = await currentBuild(project, (message) => console.error(`dosimeter: ${message}`));
  const { plan } = await import(pathToFileURL(join(dir, 'library.js')).href);
  const planned = await plan(SPEC, options);
  return planned.ok && planned.value.stages.some(({ state }) => state !== 'cached');
}

/**
 * The shapes of the quickstart's most frequent product of matrices, (352, 384) by (384, 384), which
 * is that of about 350 tokens in MiniLM.
 */
const [TOKENS, WIDTH] = [352, 384];
const SECONDS = 1;

/**
 * An estimate of the processor time of the whole quickstart on WebAssembly, in units of one such
 * product: a training step there takes about 20 times as long as with TensorFlow (bench/README.md,
 * The quickstart).
 */
const PRODUCTS = 1_500_000;

/** Measures, in this process, how many seconds one product takes. */
async function secondsPerProduct() {
  const tf = require('@tensorflow/tfjs-core');
  tf.env().set('PROD', true);
  const backend = require('@tensorflow/tfjs-backend-wasm');
  backend.setWasmPaths(
    `${join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'wasm-out')}/`,
  );
  await tf.setBackend('wasm');
  const [left, right] = [tf.ones([TOKENS, WIDTH]), tf.ones([WIDTH, WIDTH])];
  const multiply = async () => {
    const product = tf.matMul(left, right);
    await product.data();
    product.dispose();
  };
  await multiply();
  const started = performance.now();
  let products = 0;
  for (; performance.now() - started < SECONDS * 1000; products++) await multiply();
  return (performance.now() - started) / 1000 / products;
}

/** Returns how many minutes the quickstart takes on WebAssembly, with a stage on each processor. */
async function wasmMinutes() {
  return ((await secondsPerProduct()) * PRODUCTS) / availableParallelism() / 60;
}

process.chdir(project);
try {
  const args = process.argv.slice(2);
  const options = specOptions(args);
  const tensorflow = await setup({ quiet: true });
  const onWasm = options.backend === 'wasm' || (options.backend === undefined && !tensorflow);
  if (onWasm && (await hasStagesToRun(options))) {
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

/**
 * Finds this machine's backends, either by checking a few files or, with `deep`, by loading each
 * one and multiplying with it.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { BackendName } from '../api.ts';
import { UserFault } from '../api.ts';
import { bindingFile, packageDir, packageVersion, readSetupStamp } from './installation.ts';
import type { BackendProbe } from './types.ts';
import { BACKENDS } from './types.ts';

const SETUP = 'npx dosimeter setup';

const missing = (
  name: BackendName,
  detail: string,
  remedy: string | null = SETUP,
): BackendProbe => ({ name, available: false, detail, version: name, gpu: false, remedy });
const found = (
  name: BackendName,
  detail: string,
  version: string = name,
  gpu = false,
): BackendProbe => ({ name, available: true, detail, version, gpu, remedy: null });

function probeTensorflow(): BackendProbe {
  const dir = packageDir('@tensorflow/tfjs-node-gpu');
  if (dir === null)
    return missing('tensorflow', 'the package @tensorflow/tfjs-node-gpu is not installed');
  const stamp = readSetupStamp(dir);
  if (stamp === null)
    return missing('tensorflow', 'set-up has not built the TensorFlow binding yet');
  if (stamp.tensorflow === null)
    return missing(
      'tensorflow',
      stamp.reason ?? 'set-up could not build it',
      stamp.remedy ?? SETUP,
    );
  if (stamp.platform !== process.platform || stamp.arch !== process.arch) {
    return missing(
      'tensorflow',
      `the binding was built for ${stamp.platform} ${stamp.arch}, ` +
        `but this is ${process.platform} ${process.arch}`,
    );
  }
  if (!existsSync(bindingFile(dir)))
    return missing('tensorflow', 'the TensorFlow binding has been removed since set-up');
  if (
    stamp.libraries === null ||
    !existsSync(join(stamp.libraries, 'libtensorflow_framework.so.2'))
  ) {
    return missing(
      'tensorflow',
      `TensorFlow's libraries are gone from ${stamp.libraries ?? 'the cache'}`,
    );
  }
  const build =
    stamp.variant === 'own'
      ? `${stamp.tensorflow}, your own in ${stamp.libraries}`
      : `${stamp.tensorflow} for ${stamp.variant === 'cuda' ? 'CUDA' : 'the CPU'}`;
  return found(
    'tensorflow',
    `TensorFlow, ${build}, through tfjs-node-gpu ${packageVersion('@tensorflow/tfjs-node-gpu')}`,
    `tensorflow ${stamp.tensorflow} (${stamp.variant}${stamp.fused ? `, fused ${stamp.fused}` : ''})`,
    stamp.variant !== 'cpu',
  );
}

function probePackage(name: 'wasm' | 'cpu', what: string): BackendProbe {
  const id = `@tensorflow/tfjs-backend-${name}`;
  return packageDir(id) === null
    ? missing(name, `the package ${id} is not installed`)
    : found(name, `${what}, tfjs-backend-${name} ${packageVersion(id)}`);
}

const probeOne = (name: BackendName): BackendProbe => {
  switch (name) {
    case 'tensorflow':
      return probeTensorflow();
    case 'wasm':
      return probePackage('wasm', 'WebAssembly with SIMD, one thread');
    case 'cpu':
      return probePackage('cpu', 'plain JavaScript, for reference only');
  }
};

/**
 * Runs in a separate process, because a backend may crash. argv holds this module, the package, the
 * backend and the wasm folder.
 */
const MULTIPLY = `
  const { createRequire } = require('node:module');
  const [from, id, name, wasm] = process.argv.slice(1);
  const load = createRequire(from);
  require('node:util').isNullOrUndefined ??= (value) => value === null || value === undefined;
  const tf = load('@tensorflow/tfjs-core');
  tf.env().set('PROD', true);
  const backend = load(id);
  if (name === 'wasm') backend.setWasmPaths(wasm);
  tf.setBackend(name).then(async () => {
    const a = tf.tensor2d([[1, 2], [3, 4]]), b = tf.tensor2d([[5, 6], [7, 8]]);
    const product = Array.from(await tf.matMul(a, b).data());
    if (product.join() !== '19,22,43,50')
      throw new Error('[1 2; 3 4][5 6; 7 8] came out as ' + product.join(' '));
  }).catch((error) => { console.error(error.message); process.exit(1); });
`;

const PACKAGES: { readonly [name in BackendName]: string } = {
  tensorflow: '@tensorflow/tfjs-node-gpu',
  wasm: '@tensorflow/tfjs-backend-wasm',
  cpu: '@tensorflow/tfjs-backend-cpu',
};

async function tryOut(probe: BackendProbe): Promise<BackendProbe> {
  const id = PACKAGES[probe.name];
  const dir = packageDir(id);
  if (!probe.available || dir === null) return probe;
  try {
    await promisify(execFile)(
      process.execPath,
      ['-e', MULTIPLY, import.meta.url, id, probe.name, `${join(dir, 'wasm-out')}/`],
      {
        env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '3' },
      },
    );
    return probe;
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    return missing(
      probe.name,
      'it is installed but does not run here: ' +
        (stderr?.trim().split('\n').at(-1) ?? String(error)),
    );
  }
}

/**
 * Returns one entry for each backend, the best first.
 * @param deep whether to load each backend and multiply with it
 */
export async function probe({ deep = false }: { deep?: boolean } = {}): Promise<BackendProbe[]> {
  const probes = BACKENDS.map(probeOne);
  if (!deep) return probes;
  const tried: BackendProbe[] = [];
  for (const one of probes) tried.push(await tryOut(one));
  return tried;
}

/**
 * Returns the backend to use: the requested one or, if none is requested, the best that is
 * available. Throws `UserFault` if the requested one is not available.
 */
export async function chooseBackend(requested?: BackendName): Promise<BackendProbe> {
  const probes = await probe();
  const chosen =
    requested === undefined
      ? probes.find((one) => one.available)
      : probes.find((one) => one.name === requested);
  if (chosen === undefined) {
    const what =
      requested === undefined
        ? 'no compute backend is available'
        : `unknown backend "${requested}"`;
    throw new UserFault(
      what,
      requested === undefined ? `run \`${SETUP}\`` : `one of: ${BACKENDS.join(', ')}`,
    );
  }
  if (!chosen.available) {
    throw new UserFault(
      `the backend "${chosen.name}" is not available: ${chosen.detail}`,
      chosen.remedy === null ? undefined : `run \`${chosen.remedy}\``,
    );
  }
  return chosen;
}

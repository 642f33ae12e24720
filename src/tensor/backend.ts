/**
 * Finds this machine's tensor backends, and says what they offer. Nothing of tfjs is imported, so
 * that the engine, which must not load tfjs, may import this file.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type BackendName, type PythonPackage, UserFault } from '../api.ts';
import { findPython, torchVersion } from '../torch/python.ts';

export interface BackendProbe {
  readonly name: BackendName;
  readonly available: boolean;
  /** What the backend is, or why it is not available. */
  readonly detail: string;
  /**
   * The backend as keys name it: its name, with versions that do not follow from those of the npm
   * packages, such as the release of TensorFlow.
   */
  readonly version: string;
  /** Whether the backend computes on GPUs if there are any. */
  readonly gpu: boolean;
  /** The command that would make the backend available; null if it is, or if no command helps. */
  readonly remedy: string | null;
}

/** What is recorded with every result that a backend computed. */
export interface BackendInfo {
  readonly name: BackendName;
  readonly precision: 'float32';
  /** The number of threads that one operation may use. */
  readonly threads: number;
  /** The versions of the packages that compute. */
  readonly packages: { readonly [name: string]: string };
  /** TensorFlow's own version; null for the other backends. */
  readonly tensorflow: string | null;
  /** The version of our fused operations (fused.ts); null where they are not used. */
  readonly fused: string | null;
  /** The GPU's name; null when the CPU computes. */
  readonly gpu: string | null;
  /** Whether the library promises that an operation returns the same bits on the same hardware. */
  readonly deterministic: boolean;
  /**
   * The type to which a backend of tfjs rounds the results of products in bfloat16; absent if the
   * backend has no such products, and for PyTorch.
   */
  readonly bf16Products?: 'float32' | 'bf16';
}

/** If no backend is requested, the first of these that is available is used. */
const USUAL: readonly BackendName[] = ['tensorflow', 'wasm', 'cpu'];
/** All backends, best first. PyTorch is used only where it is requested. */
export const BACKENDS: readonly BackendName[] = [...USUAL, 'torch'];

/** The backends of tfjs, each with its npm package. */
export const PACKAGES = {
  tensorflow: '@tensorflow/tfjs-node-gpu',
  wasm: '@tensorflow/tfjs-backend-wasm',
  cpu: '@tensorflow/tfjs-backend-cpu',
} as const;

const require = createRequire(import.meta.url);

/** The record that `npx dosimeter setup` writes; src/setup/tensorflow.mjs defines its form. */
interface SetupStamp {
  readonly tensorflow: string | null;
  readonly variant: 'cpu' | 'cuda' | 'own';
  readonly libraries: string | null;
  /** The version of the fused operations in the binding; null or absent where it has none. */
  readonly fused?: string | null;
  readonly platform: string;
  readonly arch: string;
  readonly reason?: string;
  readonly remedy?: string;
}

/** Returns the folder of an installed package, or null if it is not installed. */
function packageDir(name: string): string | null {
  try {
    return dirname(require.resolve(`${name}/package.json`));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}

/** Returns the folder of a package. Throws if it is not installed. */
export function installedDir(name: string): string {
  const dir = packageDir(name);
  if (dir === null) throw new Error(`${name} is not installed`);
  return dir;
}

/** Returns the version of a package. Throws if it is not installed. */
export function packageVersion(name: string): string {
  const file = join(installedDir(name), 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Returns the record that set-up wrote, or null if set-up has not run. */
export function readSetupStamp(tfjsDir: string): SetupStamp | null {
  const file = join(tfjsDir, 'lib', 'dosimeter.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as SetupStamp) : null;
}

export function bindingFile(tfjsDir: string): string {
  return join(tfjsDir, 'lib', 'napi-v8', 'tfjs_binding.node');
}

const SETUP = 'npx dosimeter setup';

/**
 * Returns the probe of a backend that is not available. `detail` says why; `remedy` is the command
 * that would help, or null.
 */
const unavailableProbe = (
  name: BackendName,
  detail: string,
  remedy: string | null = SETUP,
): BackendProbe => ({ name, available: false, detail, version: name, gpu: false, remedy });

/** Returns the probe of an available backend. `version` is what keys call it. */
const availableProbe = (
  name: BackendName,
  detail: string,
  version: string = name,
  gpu = false,
): BackendProbe => ({ name, available: true, detail, version, gpu, remedy: null });

function probeTensorflow(): BackendProbe {
  const lacking = (detail: string, remedy = SETUP): BackendProbe =>
    unavailableProbe('tensorflow', detail, remedy);
  const id = PACKAGES.tensorflow,
    dir = packageDir(id);
  if (dir === null) return lacking(`the package ${id} is not installed`);
  const stamp = readSetupStamp(dir);
  if (stamp === null) return lacking('set-up has not built the TensorFlow binding yet');
  const { tensorflow, variant, libraries, fused, platform, arch } = stamp;
  if (tensorflow === null)
    return lacking(stamp.reason ?? 'set-up could not build it', stamp.remedy);
  if (platform !== process.platform || arch !== process.arch)
    return lacking(
      `the binding was built for ${platform} ${arch}, ` +
        `but this is ${process.platform} ${process.arch}`,
    );
  if (!existsSync(bindingFile(dir)))
    return lacking('the TensorFlow binding has been removed since set-up');
  if (libraries === null || !existsSync(join(libraries, 'libtensorflow_framework.so.2')))
    return lacking(`TensorFlow's libraries are gone from ${libraries ?? 'the cache'}`);
  const build =
    variant === 'own'
      ? `${tensorflow}, your own in ${libraries}`
      : `${tensorflow} for ${variant === 'cuda' ? 'CUDA' : 'the CPU'}`;
  return availableProbe(
    'tensorflow',
    `TensorFlow, ${build}, through tfjs-node-gpu ${packageVersion(id)}`,
    `tensorflow ${tensorflow} (${variant}${fused ? `, fused ${fused}` : ''})`,
    variant !== 'cpu',
  );
}

function probePackage(name: 'wasm' | 'cpu', what: string): BackendProbe {
  const id = PACKAGES[name];
  return packageDir(id) === null
    ? unavailableProbe(name, `the package ${id} is not installed`)
    : availableProbe(name, `${what}, tfjs-backend-${name} ${packageVersion(id)}`);
}

/**
 * Probes PyTorch by what Python says of its packages. A missing bitsandbytes or lm_eval is no
 * fault.
 */
async function probeTorch(): Promise<BackendProbe> {
  const python = await findPython();
  if ('fault' in python) return unavailableProbe('torch', python.fault, python.remedy);
  const { packages, cuda, command } = python;
  const more = (['bitsandbytes', 'lm_eval'] as const).flatMap((name) =>
    python[name] ? [`${name} ${python[name]}`] : [],
  );
  const device =
    cuda === null
      ? 'the CPU'
      : `CUDA ${cuda}, which the project's tests do not run, on one GPU or on several`;
  return availableProbe(
    'torch',
    `PyTorch ${packages.torch} for ${device}, transformers ${packages.transformers}, ` +
      `${[`peft ${packages.peft}`, ...more].join(', ')}, ` +
      `in ${command} (${python.from}, Python ${python.python})`,
    torchVersion(python),
    cuda !== null,
  );
}

/**
 * Returns what can be told of a backend without loading it: from a few files or, for PyTorch, from
 * a process that asks Python for its packages.
 */
export async function probeOne(name: BackendName): Promise<BackendProbe> {
  switch (name) {
    case 'tensorflow':
      return probeTensorflow();
    case 'wasm':
      return probePackage('wasm', 'WebAssembly with SIMD, one thread');
    case 'cpu':
      return probePackage('cpu', 'plain JavaScript, for reference only');
    case 'torch':
      return probeTorch();
  }
}

/**
 * A script that multiplies two matrices with a backend of tfjs. It runs in a process of its own,
 * because a backend may crash. Its arguments are this module, the package, the backend and the wasm
 * folder.
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

/**
 * Tries a small product on an available backend. Returns the probe as it is or, if the product
 * fails or is wrong, a probe that says the backend is unavailable.
 */
async function probeByMultiplying(probe: BackendProbe): Promise<BackendProbe> {
  if (!probe.available) return probe;
  try {
    await (probe.name === 'torch' ? multiplyInTorch() : multiplyInTfjs(probe.name));
    return probe;
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    return unavailableProbe(
      probe.name,
      `it is installed but does not run here: ${stderr?.trim().split('\n').at(-1) ?? message}`,
      probe.name === 'torch' ? null : SETUP,
    );
  }
}

/** Runs MULTIPLY. Throws if the backend does not multiply two matrices right. */
async function multiplyInTfjs(name: keyof typeof PACKAGES): Promise<void> {
  const wasm = `${packageDir(PACKAGES.wasm) ?? ''}/wasm-out/`;
  await promisify(execFile)(
    process.execPath,
    ['-e', MULTIPLY, import.meta.url, PACKAGES[name], name, wasm],
    { env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '3' } },
  );
}

/** Throws if PyTorch's process does not multiply two matrices right. */
async function multiplyInTorch(): Promise<void> {
  const worker = await (await import('../torch/worker.ts')).torchWorker();
  const { product } = await worker.ask('check', {});
  await worker.end();
  if (product.join() !== '19,22,43,50')
    throw new Error(`[1 2; 3 4][5 6; 7 8] came out as ${product.join(' ')}`);
}

/**
 * Probes all backends, the best first.
 * @param deep whether to load each backend and multiply with it
 */
export async function probe({ deep = false }: { deep?: boolean } = {}): Promise<BackendProbe[]> {
  const probes = await Promise.all(BACKENDS.map(probeOne));
  if (!deep) return probes;
  const tried: BackendProbe[] = [];
  for (const one of probes) tried.push(await probeByMultiplying(one));
  return tried;
}

/**
 * Returns the requested backend or, without a request, the first available one of USUAL. Throws
 * `UserFault` if the requested one is not available, or none is.
 */
export async function chooseBackend(requested?: BackendName): Promise<BackendProbe> {
  // PyTorch is looked for only if it is requested, because looking starts a process.
  const names = BACKENDS.filter((name) => name === requested);
  const probes = await Promise.all((requested === undefined ? USUAL : names).map(probeOne));
  const chosen = probes.find((one) => requested !== undefined || one.available);
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

/** This file exists only in WSL, where CUDA has one device file for all GPUs. */
const WSL = '/usr/lib/wsl/lib/libcuda.so.1';

/**
 * Returns the NVIDIA GPUs that CUDA_VISIBLE_DEVICES lists, as it names them (`0`, `GPU-8932f937`,
 * …), up to its first invalid entry; if it is not set, all GPUs, numbered from 0. GPUs are counted
 * by their device files in `devices`, without asking the driver. Empty if there are none, and
 * outside of Linux.
 */
export function visibleGpus(
  env: Readonly<Record<string, string | undefined>>,
  devices = '/dev',
): readonly string[] {
  const count =
    process.platform !== 'linux'
      ? 0
      : readdirSync(devices).filter((name) => /^nvidia\d+$/.test(name)).length ||
        (existsSync(WSL) ? 1 : 0);
  if (count === 0) return [];
  const listed = env['CUDA_VISIBLE_DEVICES']?.split(',').map((gpu) => gpu.trim());
  if (listed === undefined) return Array.from({ length: count }, (_, i) => String(i));
  // As in CUDA, the first invalid entry hides all that follow.
  const end = listed.findIndex(
    (gpu) => gpu === '' || gpu === '-1' || (/^\d+$/.test(gpu) && Number(gpu) >= count),
  );
  return end < 0 ? listed : listed.slice(0, end);
}

const CPUINFO = '/proc/cpuinfo';
/** The flags in CPUINFO of instructions that multiply bfloat16. */
const INSTRUCTIONS = ['avx512_bf16', 'amx_bf16'];

/** Why something can't be computed here. */
interface MachineFault {
  /** Continues a sentence that the caller begins. */
  readonly message: string;
  readonly hint: string;
  /** Set if another machine may be able to compute it. */
  readonly ofMachine?: true;
}

/** Returns the text of CPUINFO; empty if there is no such file. */
const readCpuinfo = (): string => (existsSync(CPUINFO) ? readFileSync(CPUINFO, 'utf8') : '');

/**
 * Returns what the pattern's first group matches, trimmed; undefined if the pattern does not match.
 */
const fieldOf = (info: string, pattern: RegExp): string | undefined =>
  pattern.exec(info)?.[1]?.trim();

/** Returns the flags of the first processor in the text of CPUINFO; empty if it has none. */
const flagsOf = (info: string): string[] => fieldOf(info, /^flags\s*:(.*)$/m)?.split(' ') ?? [];

/** Whether this processor multiplies bfloat16 by tiles (AMX). */
export const hasTiles = (): boolean => flagsOf(readCpuinfo()).includes('amx_bf16');

/**
 * Returns why a processor should not multiply bfloat16; null if it has instructions for that.
 * @param info the text of CPUINFO
 */
export function processorFault(info: string): MachineFault | null {
  const flags = flagsOf(info);
  if (INSTRUCTIONS.some((flag) => flags.includes(flag))) return null;
  const model = fieldOf(info, /^model name\s*:(.*)$/m);
  return {
    message:
      'are slower than float32 on a processor without instructions for them ' +
      `(${INSTRUCTIONS.join(' or ')}), and this one has none${model ? `: ${model}` : ''}`,
    hint: 'Leave out train.precision, or run the training on a processor that has them.',
    ofMachine: true,
  };
}

/** Returns the releases of Python packages, as keys name them; null where one is missing. */
export async function pythonReleases(): Promise<{ [name in PythonPackage]: string | null }> {
  const python = await findPython();
  if ('fault' in python) return { torch: null, bitsandbytes: null, lm_eval: null };
  /** Returns the release of a package as keys name it; null if the package is missing. */
  const release = (name: 'bitsandbytes' | 'lm_eval'): string | null =>
    python[name] === null ? null : `${name} ${python[name]}`;
  return {
    torch: torchVersion(python),
    bitsandbytes: release('bitsandbytes'),
    lm_eval: release('lm_eval'),
  };
}

/**
 * Returns why a Python package can't be used here; null if it can.
 * @param need what the package is needed for, which begins the message
 * @param asked the field that the spec could leave out
 */
export async function packageFault(
  name: PythonPackage,
  need: string,
  asked: string,
): Promise<Omit<MachineFault, 'ofMachine'> | null> {
  const python = await findPython();
  if ('fault' in python)
    return {
      message: `${need}, and ${python.fault}`,
      hint:
        `${python.remedy === null ? 'Name another' : `Run \`${python.remedy}\``}, ` +
        `or leave out ${asked}.`,
    };
  if (name === 'torch' || python[name] !== null) return null;
  return {
    message: `${need}, and ${python.command} (${python.from}) has none`,
    hint: `Run \`${python.command} -m pip install ${PIP[name]}\`, or leave out ${asked}.`,
  };
}

/** What pip is asked to install; `[hf]` is for models of transformers. */
const PIP = { bitsandbytes: 'bitsandbytes', lm_eval: "'lm_eval[hf]'" } as const;

/**
 * Returns why PyTorch can't quantise weights here; null if it can. Also null if there is no
 * PyTorch, which is a fault by itself.
 * @param asked the field that the spec could leave out
 */
export const quantizeFault = async (asked = 'model.quantize') =>
  'fault' in (await findPython())
    ? null
    : packageFault('bitsandbytes', 'bitsandbytes quantises weights', asked);

/** Returns why a backend can't compute products in bfloat16 on this machine; null if it can. */
export async function bf16Fault(backend: BackendName): Promise<MachineFault | null> {
  // PyTorch rounds to bfloat16 wherever it computes.
  if (backend === 'torch') return null;
  if (backend !== 'tensorflow')
    return {
      message: `need the backend tensorflow, and this is ${backend}`,
      hint: 'Leave out train.precision, or use TensorFlow (`dosimeter setup` installs it).',
    };
  if ((await probeOne(backend)).gpu && visibleGpus(process.env).length > 0)
    return {
      message: 'are computed on processors only, and TensorFlow computes on a GPU here',
      hint: 'Leave out train.precision, or hide the GPUs: CUDA_VISIBLE_DEVICES=-1.',
      ofMachine: true,
    };
  return processorFault(readCpuinfo());
}

/**
 * Returns why attention must pad the rows of a training here; null if it can read the rows
 * unpadded.
 */
export async function paddingFault(
  backend: BackendName,
  dropout: number,
): Promise<MachineFault | null> {
  if (backend === 'torch') return null;
  const hint = 'Leave out train.packing, or run it on PyTorch: --backend torch.';
  if (backend !== 'tensorflow') return { message: `on the backend ${backend}`, hint };
  if (dropout > 0)
    return { message: 'under train.dropout', hint: hint.replace('packing', 'dropout') };
  return (await probeOne(backend)).gpu
    ? { message: "in TensorFlow's build for GPUs", hint, ofMachine: true }
    : null;
}

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import util from 'node:util';
import { type BackendName, UserFault } from '../api.ts';
import type { TorchOptions } from '../torch/worker.ts';
import {
  type BackendInfo,
  hasTiles,
  installedDir,
  PACKAGES,
  packageVersion,
  readSetupStamp,
} from './backend.ts';

export interface LoadOptions {
  /**
   * The number of threads that one operation may use; by default, as many as there are processors.
   * WebAssembly and plain JavaScript use one.
   */
  readonly threads?: number;
  /**
   * The backend as keys name it. Only used for PyTorch, whose process is refused if it has other
   * releases than these.
   */
  readonly computedBy?: string;
}

const loaded = new Map<BackendName, Promise<BackendInfo>>();

/**
 * Loads a backend, unless it was loaded before, and makes it the current one of tfjs-core.
 * PyTorch's process is only started: tfjs-core keeps its backend. Throws if TensorFlow is requested
 * with another number of threads than the first time.
 */
export async function loadBackend(
  name: BackendName,
  { threads = availableParallelism(), computedBy }: LoadOptions = {},
): Promise<BackendInfo> {
  if (name === 'torch') return loadTorch({ threads, version: computedBy });
  const tf = await import('./core.ts');
  // The flag is set only to keep tfjs from advertising its other packages on the console.
  tf.env().set('PROD', true);
  let info = loaded.get(name);
  if (info === undefined) {
    info = loadTfjs(name, threads);
    loaded.set(name, info);
  }
  const known = await info;
  if (name === 'tensorflow' && known.threads !== threads) {
    throw new Error(
      `TensorFlow is loaded with ${known.threads} threads in this process; ` +
        `${threads} would need another process`,
    );
  }
  if (!(await tf.setBackend(name))) throw new Error(`tfjs refused the backend "${name}"`);
  return known;
}

/** Starts PyTorch's process, unless it runs already. tfjs-core keeps its current backend. */
async function loadTorch(options: TorchOptions): Promise<BackendInfo> {
  const { torchWorker } = await import('../torch/worker.ts');
  const { facts } = await torchWorker(options);
  return {
    name: 'torch',
    precision: 'float32',
    threads: facts.threads,
    packages: { ...facts.packages, python: facts.python },
    tensorflow: null,
    fused: null,
    gpu: facts.gpu,
    deterministic: facts.deterministic,
  };
}

/**
 * Loads a backend of tfjs. `threads` is for TensorFlow; the others use one. Throws `UserFault` if
 * TensorFlow or its binding is not what set-up has recorded.
 */
async function loadTfjs(name: keyof typeof PACKAGES, threads: number): Promise<BackendInfo> {
  const core = '@tensorflow/tfjs-core',
    common = {
      name,
      precision: 'float32',
      packages: { [core]: packageVersion(core), [PACKAGES[name]]: packageVersion(PACKAGES[name]) },
    } as const,
    plain = { threads: 1, tensorflow: null, fused: null, gpu: null, deterministic: true };
  switch (name) {
    case 'tensorflow': {
      prepareTensorflow(threads);
      (await import('./tensorflow.ts')).registerTensorflow();
      const { binding } = (await import('./operation.ts')).tensorflowBackend();
      const stamp = readSetupStamp(installedDir(PACKAGES.tensorflow)),
        built = stamp?.tensorflow;
      // Keys name the TensorFlow release that set-up found, so results of another release must not
      // be stored under them.
      if (built !== binding.TF_Version)
        throw new UserFault(
          `TensorFlow ${binding.TF_Version} was loaded, but set-up was done for ${built ?? 'none'}`,
          'run `npx dosimeter setup`',
        );
      const fused = stamp?.fused ?? null,
        { fused: instructions } = binding as Fused,
        // Fused products don't use tiles (AMX). With tiles, oneDNN's products are faster.
        bf16 = fused !== null && instructions === 'avx512_bf16' && !hasTiles();
      if (fused !== null) {
        if (instructions === undefined)
          throw new UserFault(
            'the TensorFlow binding lacks the fused operations that set-up has recorded',
            'run `npx dosimeter setup`',
          );
        (await import('./fused.ts')).useFused(bf16);
      }
      const compiles = !OFF.has(process.env['DOSIMETER_COMPILE'] ?? '');
      (await import('./compiled/compiled.ts')).prepareCompiling(compiles ? undefined : Infinity);
      return {
        ...common,
        threads,
        tensorflow: binding.TF_Version,
        fused,
        gpu: binding.isUsingGpuDevice() ? gpuName() : null,
        deterministic: !OFF.has((process.env['TF_DETERMINISTIC_OPS'] ?? '').toLowerCase()),
        bf16Products: bf16 ? 'float32' : 'bf16',
      };
    }
    case 'wasm': {
      const { setWasmPaths } = await import('./wasm-kernels.ts');
      setWasmPaths(`${join(installedDir(PACKAGES.wasm), 'wasm-out')}/`);
      return { ...common, ...plain };
    }
    case 'cpu':
      await import('@tensorflow/tfjs-backend-cpu');
      return { ...common, ...plain };
  }
}

/** Set-up's addition to the binding: the instruction set that the fused operations use. */
interface Fused {
  readonly fused?: 'baseline' | 'avx2' | 'avx512' | 'avx512_bf16';
}

/** The values that TensorFlow reads as false in environment variables. */
const OFF = new Set(['0', 'false']);

/**
 * Sets environment variables that TensorFlow reads once, at its load or at their first use, and
 * gives Node a function that tfjs-node needs. Variables that are set already stay as they are,
 * except the numbers of threads.
 */
function prepareTensorflow(threads: number): void {
  process.env.TF_NUM_INTRAOP_THREADS = String(threads);
  process.env.TF_NUM_INTEROP_THREADS = '1';
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  // Ampere and later GPUs would round float32 products to 10 bits of mantissa, but `precision`
  // promises all 23.
  process.env.NVIDIA_TF32_OVERRIDE ??= '0';
  // Without this, operations on GPUs add in the order in which threads happen to run, and the
  // effect of poison on the weights could not be told from that noise. With it, an operation that
  // has no deterministic form fails with an error that names the operation.
  process.env.TF_DETERMINISTIC_OPS ??= '1';
  // tfjs-node 4.22 calls this function, which Node 24 no longer has.
  const legacy = util as { isNullOrUndefined?: (value: unknown) => boolean };
  legacy.isNullOrUndefined ??= (value) => value === null || value === undefined;
}

/** Returns the name of the first GPU that the NVIDIA driver lists, or "NVIDIA GPU". */
function gpuName(): string {
  const dir = '/proc/driver/nvidia/gpus';
  if (!existsSync(dir)) return 'NVIDIA GPU';
  const models = readdirSync(dir).map((gpu) =>
    /^Model:\s*(.+)$/m.exec(readFileSync(join(dir, gpu, 'information'), 'utf8'))?.[1]?.trim(),
  );
  return models.find((model) => model !== undefined) ?? 'NVIDIA GPU';
}

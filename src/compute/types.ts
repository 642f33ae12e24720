/** What is known about a tensor backend before and after it is loaded. */
import type { BackendName } from '../api.ts';

export interface BackendProbe {
  readonly name: BackendName;
  readonly available: boolean;
  /** What the backend is, or why it is not available. */
  readonly detail: string;
  /**
   * Its name in keys, with the release and build of TensorFlow's own library, which no npm package
   * versions.
   */
  readonly version: string;
  /** Whether it computes on GPUs, if there are any. */
  readonly gpu: boolean;
  /** The command that would make it available; null where it is available or no command helps. */
  readonly remedy: string | null;
}

/** What is recorded with every result that a backend computed. */
export interface BackendInfo {
  readonly name: BackendName;
  readonly precision: 'float32';
  /** Threads that one operation may use. */
  readonly threads: number;
  /** Versions of the npm packages that compute. */
  readonly packages: { readonly [name: string]: string };
  /** TensorFlow's own version; null for the other backends. */
  readonly tensorflow: string | null;
  /** The GPU's name; null when the CPU computes. */
  readonly gpu: string | null;
  /**
   * Whether, by the library's own promise, an operation on the same hardware always returns the
   * same bits.
   */
  readonly deterministic: boolean;
}

/** The best first, which is used unless another one is requested. */
export const BACKENDS: readonly BackendName[] = ['tensorflow', 'wasm', 'cpu'];

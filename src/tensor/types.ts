/** What is known about a tensor backend before and after it is loaded. */
import type { BackendName } from '../api.ts';

export interface BackendProbe {
  readonly name: BackendName;
  readonly available: boolean;
  /** What the backend is, or why it is not available. */
  readonly detail: string;
  /**
   * The backend's name in keys. It includes the release and build of TensorFlow's library, because
   * no npm version determines them.
   */
  readonly version: string;
  /** Whether the backend computes on GPUs if there are any. */
  readonly gpu: boolean;
  /**
   * The command that would make the backend available. Null if it is available or no command helps.
   */
  readonly remedy: string | null;
}

/** What is recorded with every result that a backend computed. */
export interface BackendInfo {
  readonly name: BackendName;
  readonly precision: 'float32';
  /** The number of threads that one operation may use. */
  readonly threads: number;
  /** Versions of the npm packages that compute. */
  readonly packages: { readonly [name: string]: string };
  /** TensorFlow's own version; null for the other backends. */
  readonly tensorflow: string | null;
  /** The version of our fused operations (fused.ts); null where they are not used. */
  readonly fused: string | null;
  /** The GPU's name; null when the CPU computes. */
  readonly gpu: string | null;
  /**
   * Whether the library promises that an operation always returns the same bits on the same
   * hardware.
   */
  readonly deterministic: boolean;
  /**
   * What the results of products in bfloat16 are rounded to here (`train.precision: bf16`); absent
   * where a backend offers none.
   */
  readonly bf16Products?: 'float32' | 'bf16';
}

/** The backends, best first. The best available one is used unless another is requested. */
export const BACKENDS: readonly BackendName[] = ['tensorflow', 'wasm', 'cpu'];

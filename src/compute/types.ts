/** What is known of a tensor backend before and after it is loaded. */
import type { BackendName } from '../api.ts';

export interface BackendProbe {
  readonly name: BackendName;
  readonly available: boolean;
  /** One sentence: what it is, or why it can't be had. */
  readonly detail: string;
  /** As keys name it: with the release and build of what no npm package versions, TensorFlow's own library. */
  readonly version: string;
  /** Whether it computes on GPUs, where there are any. */
  readonly gpu: boolean;
  /** The one command that would bring it; null where it is there or nothing would. */
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
  /** Whether the same operation on the same hardware always has the same bits, as far as the library promises it. */
  readonly deterministic: boolean;
}

/** Best first: what is used when nothing is asked for. */
export const BACKENDS: readonly BackendName[] = ['tensorflow', 'wasm', 'cpu'];

/** The job of either side of the theory bench, and its result. */
import type { HostTensor } from '../src/science/models/types.ts';

export interface TheoryJob {
  readonly model: string;
  readonly kernel: 'lora' | 'full';
  readonly method?: 'func' | 'hooks';
  readonly threads: number;
  readonly rank: number;
  readonly alpha: number;
  /** Whether B is zero, as where training starts. */
  readonly init: boolean;
  readonly rows: readonly { readonly ids: readonly number[] }[];
  readonly head: readonly (readonly number[])[];
  /** Rows of the kernel that is computed before the clock starts, to warm up. */
  readonly warmup: number;
  readonly memory_mb: number;
  readonly projection?: { readonly dimension: number; readonly replicates: number };
  /** Whether to compute the true and empirical Fisher spectra from the kernel as well. */
  readonly fisher: boolean;
  /** The file to write the kernel to: (N, C, N, C) doubles without a header. */
  readonly out: string;
}

export interface PeerResult {
  readonly seconds: number;
  readonly peak_memory_mb: number;
  readonly versions: Readonly<Record<string, string>>;
}

export interface TheoryResult extends PeerResult {
  readonly fisher_seconds: number;
  /** Operations counted by the cost model. */
  readonly operations: number;
  /** Memory by the plan: h and δ of a group of layers, and the kernel's sums. */
  readonly planned_mb: number;
  readonly error: number | null;
  readonly groups: number;
  readonly by_pairs: number;
  readonly terms: number;
}

/** LoRA factors that both sides can compute: `wave` in peers/theory_torch.py. */
export const wave = (rows: number, columns: number, scale: number, phase: number): HostTensor => ({
  shape: [rows, columns],
  data: Float32Array.from(
    { length: rows * columns },
    (_, k) => scale * Math.sin(phase + 0.37 * (Math.floor(k / columns) + 1) * ((k % columns) + 2)),
  ),
});

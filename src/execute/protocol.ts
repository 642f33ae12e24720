/** What the scheduler and a worker process say to each other (JSON over the channel of `child_process.fork`). */
import type { Asset, BackendName, ExperimentFacts, JsonObject, StageInput } from '../api.ts';
import type { ManifestFile } from '../store/types.ts';

/** Where a plugin's code lies: a module whose default export is the descriptor. */
export interface PluginModule {
  readonly kind: string;
  readonly name: string;
  readonly module: string;
}

export interface Job {
  readonly stage: PluginModule;
  readonly uses: readonly PluginModule[];
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: StageInput };
  readonly assets: { readonly [name: string]: Asset };
  readonly outDir: string;
  readonly backend: BackendName;
  /** Whether the backend must be loaded. */
  readonly compute: boolean;
  readonly experiment?: ExperimentFacts;
}

export type ToWorker = { readonly type: 'run'; readonly job: Job } | { readonly type: 'abort' };

/** How a job ended. `fault`: the user's; `error`: internal, its stack goes to the log only; `exit`: the process went without a word. */
export type JobResult =
  | { readonly type: 'done'; readonly files: readonly ManifestFile[]; readonly seconds: number; readonly peakMemoryMB: number }
  | { readonly type: 'fault'; readonly message: string; readonly hint?: string }
  | { readonly type: 'error'; readonly message: string; readonly stack: string }
  | { readonly type: 'exit'; readonly code: number | null; readonly signal: string | null };

/** `leaving`: the process is not to be used again. */
export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'log'; readonly message: string }
  | { readonly type: 'progress'; readonly done: number; readonly total: number; readonly unit: string }
  | { readonly type: 'result'; readonly result: Exclude<JobResult, { type: 'exit' }>; readonly leaving?: true };

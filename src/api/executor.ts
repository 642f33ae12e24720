/** Where stages run: the descriptor of an executor, and what it is handed. */
import type { Asset, BackendName, ExperimentFacts, JsonObject, StageInput } from '../api.ts';

/** Where a plugin's code lies: a module whose default export is the descriptor. */
export interface PluginModule {
  readonly kind: string;
  readonly name: string;
  readonly module: string;
}

/** One stage, ready to run: JSON, so that it can be written to a file and run by another process. */
export interface Job {
  /** `train-3f9c2a1b7d`. */
  readonly id: string;
  readonly stage: PluginModule;
  readonly uses: readonly PluginModule[];
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: StageInput };
  readonly assets: { readonly [name: string]: Asset };
  /** Of the store's file system; the stage writes here, and whoever runs it leaves it there. */
  readonly outDir: string;
  /** `RunContext.resumeDir`; absent for a stage that is run by hand. */
  readonly resumeDir?: string;
  readonly backend: BackendName;
  /** Whether the backend must be loaded. */
  readonly compute: boolean;
  /** Processor cores. */
  readonly cpu: number;
  /** GPUs that it may use, and no other, as CUDA_VISIBLE_DEVICES has them. Left out: as its process finds them. */
  readonly gpus?: readonly string[];
  /** `StageDescriptor.limits`. */
  readonly limits?: JsonObject;
  readonly experiment?: ExperimentFacts;
}

/** A file of an output folder, by path relative to it, with `/`. */
export interface OutputFile {
  readonly path: string;
  readonly size: number;
  /** 64 hex digits. */
  readonly sha256: string;
}

/** How a job ended. `fault`: the user's; `error`: internal, its stack goes to the log only; `exit`: its process went without a word. */
export type JobResult =
  | {
      readonly type: 'done';
      readonly files: readonly OutputFile[];
      /** In a pack, its share: a second that passes is divided evenly among those still running. */ readonly seconds: number;
      readonly peakMemoryMB: number;
      /** Of a stage that computes: the backend, its precision, threads, releases and GPU, as they were loaded. */ readonly computed?: JsonObject;
    }
  | { readonly type: 'fault'; readonly message: string; readonly hint?: string }
  | { readonly type: 'error'; readonly message: string; readonly stack: string }
  | { readonly type: 'exit'; readonly code: number | null; readonly signal: string | null };

/** What a job says while it runs. */
export interface JobHooks {
  /** What its process wrote to stdout or stderr. */
  onOutput(text: string): void;
  onLog(message: string): void;
  onProgress(done: number, total: number, unit: string): void;
}

export interface PackedJob {
  readonly job: Job;
  readonly hooks: JobHooks;
  readonly signal: AbortSignal;
}

export interface Executor {
  /** How many cores its jobs may take at once. Left out: as many as the run may use here (`--jobs`). */
  readonly cores?: number;
  /** GPUs, by identity, that its jobs may be given. Left out: this machine's; none where the cores are not this machine's. */
  readonly gpus?: readonly string[];
  /** Never rejects on account of the job: what went wrong is in the result. On abort the job is asked to stop, then ended. */
  run(job: Job, hooks: JobHooks, signal: AbortSignal): Promise<JobResult>;
  /**
   * Jobs of one stage kind as one, with each its own hooks, signal and result; what the process prints goes to all that still
   * run. An executor without it is handed every job alone.
   */
  runPack?(pack: readonly PackedJob[]): readonly Promise<JobResult>[];
  /**
   * A stage's input or source was written to while it ran: what warm processes have of jobs until now (a model, by its digest)
   * must not serve another. An executor that starts a process a job needs none.
   */
  forget?(): void;
  /** Ends what still runs. */
  close(): Promise<void>;
}

export interface ExecutorContext {
  /** Cores that the run may use on this machine. */
  readonly cores: number;
  /** A folder of the run's, kept with its logs: for job files and what a scheduler prints. */
  readonly dir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A line for the run's log. */
  readonly log: (message: string) => void;
  /** Warm worker processes on this machine, `limit` of them at most. */
  workers(limit: number): Executor;
  /**
   * The argument list of a program that runs the job in the file `job` (JSON) and writes how it ended to `result`
   * (JSON, a JobResult), whole or not at all: what an executor gives to a scheduler. No result after its end is an `exit`.
   */
  command(job: string, result: string): readonly string[];
}

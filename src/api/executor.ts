/** An executor: where stages run, and what it is handed. */
import type { BackendName, JsonObject } from './json.ts';
import type { Plugin } from './plugin.ts';
import type { ExperimentFacts, StageInput } from './run-context.ts';
import type { Asset } from './source.ts';

/** Where a plugin's code lies: a module whose default export is the descriptor. */
export interface PluginModule {
  readonly kind: string;
  readonly name: string;
  /** The module's absolute path. */
  readonly module: string;
}

/**
 * One stage, ready to run. It is JSON, so that it can be written to a file and run by another
 * process.
 */
export interface Job {
  /** `train-3f9c2a1b7d`. */
  readonly id: string;
  readonly stage: PluginModule;
  readonly uses: readonly PluginModule[];
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: StageInput };
  readonly assets: { readonly [name: string]: Asset };
  /** Where the stage writes: a folder on the store's file system. The executor leaves it there. */
  readonly outDir: string;
  /** `RunContext.resumeDir`; absent for a stage that is run by hand. */
  readonly resumeDir?: string;
  readonly backend: BackendName;
  /** Whether the backend must be loaded. */
  readonly compute: boolean;
  /** The number of processor cores that it may use. */
  readonly cpu: number;
  /**
   * The GPUs that it may use, by the identities that CUDA_VISIBLE_DEVICES takes. If absent, those
   * that its process finds.
   */
  readonly gpus?: readonly string[];
  /** `StageDescriptor.limits`. */
  readonly limits?: JsonObject;
  readonly experiment?: ExperimentFacts;
}

/** A file of an output folder. */
export interface OutputFile {
  /** Relative to the folder, with `/` between its parts. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** 64 hex digits. */
  readonly sha256: string;
}

/**
 * How a job ended. `fault` is the user's to mend; `error` is internal, and its stack goes to the
 * log only; `exit` means that its process ended without a result.
 */
export type JobResult =
  | {
      readonly type: 'done';
      readonly files: readonly OutputFile[];
      /**
       * In a pack, the job's share: time is divided evenly among the jobs that are still running.
       */
      readonly seconds: number;
      readonly peakMemoryMB: number;
      /**
       * For a stage that computes: the backend, its precision, threads, releases and GPU, as they
       * were loaded.
       */
      readonly computed?: JsonObject;
    }
  | { readonly type: 'fault'; readonly message: string; readonly hint?: string }
  | { readonly type: 'error'; readonly message: string; readonly stack: string }
  | { readonly type: 'exit'; readonly code: number | null; readonly signal: string | null };

/** What an executor passes on while a job runs. */
export interface JobHooks {
  /** Text that the job's process wrote to stdout or stderr. */
  onOutput(text: string): void;
  /** A line of the stage's log. */
  onLog(message: string): void;
  onProgress(done: number, total: number, unit: string): void;
}

/** A job of a pack. */
export interface PackedJob {
  readonly job: Job;
  readonly hooks: JobHooks;
  readonly signal: AbortSignal;
}

export interface Executor {
  /**
   * The number of cores that its jobs may take at once. If absent, as many as the run may use
   * (`--jobs`).
   */
  readonly cores?: number;
  /**
   * The GPUs, by identity, that its jobs may be given. If absent, this machine's, or none if
   * `cores` says that the cores are not this machine's.
   */
  readonly gpus?: readonly string[];
  /**
   * Runs a job. It never rejects on account of the job: what went wrong is in the result. When the
   * signal is aborted, the job is asked to stop and is then ended.
   */
  run(job: Job, hooks: JobHooks, signal: AbortSignal): Promise<JobResult>;
  /**
   * Runs jobs of one stage kind as one job. Each has its own hooks, signal and result; what the
   * process prints goes to all that are still running. If absent, every job is run alone.
   */
  runPack?(pack: readonly PackedJob[]): readonly Promise<JobResult>[];
  /**
   * Called when an input or source of a stage was written to while the stage ran: what warm
   * processes keep of earlier jobs, such as a model by its digest, must not be used for later ones.
   * An executor that starts a process for each job needs no such method.
   */
  forget?(): void;
  /** Ends whatever is still running. */
  close(): Promise<void>;
}

export interface ExecutorContext {
  /** The number of cores that the run may use on this machine. */
  readonly cores: number;
  /** A folder of the run that is kept with its logs: for job files and what a scheduler prints. */
  readonly dir: string;
  /** The environment variables. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Writes a line to the run's log. */
  readonly log: (message: string) => void;
  /** Warm worker processes on this machine, at most `limit` of them. */
  workers(limit: number): Executor;
  /**
   * The command that an executor gives to a scheduler, as an argument list: a program that runs the
   * job in the file `job` (JSON) and writes how it ended to the file `result` (JSON, a
   * `JobResult`). The result is written whole or not at all; if there is none when the program has
   * ended, that counts as `exit`.
   */
  command(job: string, result: string): readonly string[];
}

/** Where stages run. An executor is part of no key: it must not change a result. */
export interface ExecutorDescriptor extends Plugin<'executor'> {
  /**
   * Called once a run, before the first job. Throws `UserFault` if it can't work on this machine.
   */
  open(context: ExecutorContext): Executor | Promise<Executor>;
}

/** Makes a descriptor out of an executor's fields; it should be its module's default export. */
export const defineExecutor = (executor: Omit<ExecutorDescriptor, 'kind'>): ExecutorDescriptor => ({
  kind: 'executor',
  ...executor,
});

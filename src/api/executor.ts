/** An executor, which decides where stages run, and the jobs that it receives. */
import type { Warning } from '../base/fault.ts';
import type { BackendName, JsonObject } from '../base/json.ts';
import type { Asset } from './data.ts';
import type { Plugin } from './plugin.ts';
import type { ExperimentFacts, StageInput } from './stage.ts';

/** Where a plugin's code is: a module whose default export is the descriptor. */
export interface PluginModule {
  readonly kind: string;
  readonly name: string;
  readonly module: string;
}

/** One stage, ready to run. It is JSON, so that another process can read it from a file. */
export interface Job {
  /** The stage's id, such as `train-3f9c2a1b7d`. */
  readonly id: string;
  readonly stage: PluginModule;
  readonly uses: readonly PluginModule[];
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: StageInput };
  readonly assets: { readonly [name: string]: Asset };
  /**
   * The stage's output folder, on the store's file system. The executor leaves the output there.
   */
  readonly outDir: string;
  /** Passed on as `RunContext.resumeDir`. Absent for a stage that is run by hand. */
  readonly resumeDir?: string;
  /** The store's folder of answers of services, from which `RunContext.answers` is made. */
  readonly answersDir?: string;
  readonly backend: BackendName;
  /**
   * The backend as the stage's key names it, with its release; the job fails in a worker that has
   * another release.
   */
  readonly computedBy?: string;
  /**
   * The release of PyTorch in the stage's key. Present if the stage computes in PyTorch's process
   * although its backend is another one.
   */
  readonly torch?: string;
  readonly compute: boolean;
  /** The number of processor cores that the job may use. */
  readonly cpu: number;
  /**
   * The GPUs that the job may use, by the identifiers that CUDA_VISIBLE_DEVICES accepts. If absent,
   * the job may use every GPU that its process finds.
   */
  readonly gpus?: readonly string[];
  /** What was warned of before the stage ran; stored with its output. Absent if nothing was. */
  readonly warnings?: readonly Warning[];
  readonly limits?: JsonObject;
  readonly experiment?: ExperimentFacts;
  /**
   * Names what the job computes: two jobs with the same key read the same files and make the same
   * outputs. The key can serve as a file name. Absent for a stage that is run by hand.
   */
  readonly key?: string;
  /** What the job will take, for an executor that has `queues`. */
  readonly demand?: Demand;
}

/** What a job will take, as far as it is known before it runs. */
export interface Demand {
  /** The seconds that stages like this one took, on average. Absent if none has run yet. */
  readonly seconds?: number;
  /** `Resources.memoryMB` plus `Packing.memoryMB` of the stage. Absent if both are unknown. */
  readonly memoryMB?: number;
  /** The number of GPUs; 0 for a stage that does not compute on one. */
  readonly gpu: number;
  /** Whether the stage computes with tensors. A stage that does not is usually short. */
  readonly compute?: boolean;
}

/** A file of an output folder. */
export interface OutputFile {
  /** The file's path relative to the folder, with `/` between its parts. */
  readonly path: string;
  readonly size: number;
  /** 64 hex digits. */
  readonly sha256: string;
}

/**
 * How a job ended.
 * - `fault`: the user has to fix something.
 * - `error`: an internal error or, with `thrownAt`, an error in a plugin's code at that place
 *   (`FILE:LINE:COLUMN`). The stack of a plugin's error goes to the log only.
 * - `exit`: the job's process ended without a result.
 */
export type JobResult =
  | {
      readonly type: 'done';
      readonly files: readonly OutputFile[];
      readonly seconds: number;
      readonly peakMemoryMB: number;
      /**
       * The folder of the files, on the store's file system. Absent if it is the job's `outDir`.
       * The store takes the folder over.
       */
      readonly outDir?: string;
      /**
       * For a stage that computes: the backend as it was loaded, with its precision, threads,
       * releases and GPU.
       */
      readonly computed?: JsonObject;
    }
  | {
      readonly type: 'fault';
      readonly message: string;
      readonly hint?: string;
      /**
       * Set if the stage itself is not at fault: its job was killed, say, or could not be
       * submitted. What the stage has saved is kept, and the next attempt goes on from there.
       */
      readonly cutOff?: true;
    }
  | {
      readonly type: 'error';
      readonly message: string;
      readonly stack: string;
      readonly thrownAt?: string;
    }
  | { readonly type: 'exit'; readonly code: number | null; readonly signal: string | null };

/** Where a job that was handed to a scheduler is. */
export interface Place {
  /** The scheduler's name of the job, such as `Slurm job 123_4`. */
  readonly job: string;
  /**
   * The node that it runs on; null while the job waits, or if it does not run on one node alone.
   */
  readonly node: string | null;
  /**
   * Why the job waits, in the scheduler's word, such as `Resources`; null once it no longer waits.
   */
  readonly waits: string | null;
}

/** What an executor passes on while a job runs. */
export interface JobHooks {
  /** Text that the job's process wrote to stdout or stderr. */
  onOutput(text: string): void;
  onLog(message: string): void;
  onProgress(done: number, total: number, unit: string): void;
  /** Called by an executor with `queues` whenever the job's place has changed. */
  onPlace?(place: Place): void;
}

export interface PackedJob {
  readonly job: Job;
  readonly hooks: JobHooks;
  readonly signal: AbortSignal;
}

/**
 * The reason with which a job's signal is aborted if the run ends but the job is to go on: an
 * executor with `queues` leaves the job in flight, and a later run adopts it.
 */
export const LEAVE = 'leave the jobs in flight';

/** The limits of an executor that hands its jobs to a scheduler. */
export interface Queues {
  /**
   * The most jobs in flight at once. Not the run but the scheduler counts the cores, memory and
   * GPUs that they use.
   */
  readonly jobs: number;
  /**
   * How long stages that may share a job wait for each other, in milliseconds. Packs are as large
   * as the run allows, since a scheduler's jobs are costly.
   */
  readonly gatherMs: number;
}

export interface Executor {
  /**
   * The number of cores that this executor's jobs may use at once. If absent, they may use as many
   * as the run may (`--jobs`).
   */
  readonly cores?: number;
  /**
   * The GPUs, by identifier, that this executor's jobs may be given. If absent, they may be given
   * this machine's GPUs, or none if `cores` is set, because the cores are then not this machine's.
   */
  readonly gpus?: readonly string[];
  /** Set if jobs are handed to a scheduler, which decides where they run and counts resources. */
  readonly queues?: Queues;
  /**
   * Runs a job. The promise is never rejected because the job failed; the result says what went
   * wrong. When the signal is aborted, the job is first asked to stop; if it does not stop soon, it
   * is ended.
   */
  run(job: Job, hooks: JobHooks, signal: AbortSignal): Promise<JobResult>;
  /**
   * Runs jobs of one stage kind together. With `queues`, they become one job of the scheduler;
   * otherwise they run at once in one process (`Packing.together`). Each promise resolves as soon
   * as its job has ended. Without this method, every job is run alone.
   */
  runPack?(pack: readonly PackedJob[]): readonly Promise<JobResult>[];
  /**
   * Called when an input or source of a stage was modified while the stage ran. Later jobs must not
   * use what warm processes keep from earlier ones, such as a model cached by its digest. An
   * executor that starts a process for each job does not need this method.
   */
  forget?(): void;
  close(): Promise<void>;
}

export interface ExecutorContext {
  /** The number of cores that the run may use on this machine. */
  readonly cores: number;
  /** A folder for job files and for what a scheduler prints. It is kept with the run's logs. */
  readonly dir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: (message: string) => void;
  /** Tells the user something, which is also kept in the journal. */
  readonly note: (message: string) => void;
  /** The absolute path of the spec. */
  readonly spec: string;
  /**
   * A folder on the store's file system that outlives the run. The executor makes it when it needs
   * it. All runs on the store share it.
   */
  readonly spool: string;
  /** Returns an executor that uses at most `limit` warm worker processes on this machine. */
  workers(limit: number): Executor;
  /**
   * Returns the command that an executor gives to a scheduler, as an argument list. It runs the job
   * in the file `job` (JSON) and writes how the job ended to the file `result` (JSON, a
   * `JobResult`). The result is written whole or not at all. If there is no result when the program
   * has ended, the job counts as ended with `exit`.
   */
  command(job: string, result: string): readonly string[];
  /**
   * Returns the command that performs a task, as an argument list; the path of the task's file
   * (JSON, a `ScheduledTask`) has to follow. It exits with 0 if every job has a result. It exits
   * with `INTERRUPTED_TASK` if SIGTERM stopped it before that and every stage has saved a state
   * from which the next attempt goes on.
   */
  readonly taskCommand: readonly string[];
}

/** The exit code of a task that SIGTERM stopped and that can go on: EX_TEMPFAIL of sysexits.h. */
export const INTERRUPTED_TASK = 75;

/** What one job of a scheduler performs: one job of the run, or several that form a pack. */
export interface ScheduledTask {
  readonly members: readonly TaskMember[];
  /** The folder of the leases that keep two processes from performing the same job at once. */
  readonly leases: string;
  /** The file to which progress and logs are appended: one JSON object in each line. */
  readonly events: string;
  /** How long a stage that was asked to stop may save its state, in seconds. */
  readonly graceSeconds: number;
}

export interface TaskMember {
  /** Its `outDir` is the empty text, because the task makes the output folder in `dir`. */
  readonly job: Job;
  /**
   * The job's folder. The task writes `result.json` into it (a `JobResult`), whole or not at all,
   * and only if there is none yet.
   */
  readonly dir: string;
}

/** A line of `ScheduledTask.events`. `member` is an index of `ScheduledTask.members`. */
export type TaskEvent =
  /** The task begins. */
  | { readonly begun: true }
  /** The task was stopped before every job had a result. */
  | { readonly interrupted: true }
  | { readonly member: number; readonly log: string }
  /** Text that the member's process printed. */
  | { readonly member: number; readonly printed: string }
  | {
      readonly member: number;
      readonly done: number;
      readonly total: number;
      readonly unit: string;
    };

/** A job that would be submitted, for `foresee`. */
export interface ForeseenJob {
  /** The stage kind. */
  readonly kind: string;
  /** The stages that the job performs one after another: more than one for a pack. */
  readonly stages: readonly { readonly cpu: number; readonly demand: Demand }[];
}

/** Jobs that are alike and would be submitted together. */
export interface ForeseenGroup {
  readonly kind: string;
  readonly jobs: number;
  readonly stages: number;
  /** The time limit of each job, in seconds. */
  readonly seconds: number;
  /** The sum of the seconds that the jobs are expected to take; null if that is unknown. */
  readonly expected: number | null;
  readonly memoryMB: number;
  readonly gpus: number;
  readonly cpus: number;
  /** The command that would submit them, as an argument list. */
  readonly command: readonly string[];
  /** The batch script that the command would submit. */
  readonly script: string;
}

/** A run that was submitted as a job itself. */
export interface SubmittedRun {
  /** The job's unique name. */
  readonly name: string;
  /** The scheduler's name of the job, as in `Place`. */
  readonly job: string;
  /** The file that the job prints to. */
  readonly file: string;
}

export interface Cancelled {
  /** The names of the submissions that were cancelled. */
  readonly cancelled: readonly string[];
  readonly failed: readonly {
    readonly name: string;
    /** A way to cancel it by hand, such as a command of the scheduler. */
    readonly hint: string;
  }[];
}

/** Where stages run. An executor is not part of any key, so it must not change a result. */
export interface ExecutorDescriptor extends Plugin<'executor'> {
  /**
   * Called once per run, before the first job. Throws `UserFault` if the executor can't work on
   * this machine.
   */
  open(context: ExecutorContext): Executor | Promise<Executor>;
  /**
   * Returns what would be submitted for these jobs. Only for an executor with `queues`.
   * @throws UserFault if its settings are at fault
   */
  foresee?(
    jobs: readonly ForeseenJob[],
    context: Pick<ExecutorContext, 'env' | 'spec' | 'taskCommand'>,
  ): Promise<readonly ForeseenGroup[]>;
  /**
   * Submits a run as a job itself, for sites that forbid processes on login nodes.
   * @param context `dir`: a folder for what the job reads and prints; `command`: the command of the
   *   run, as an argument list
   * @throws UserFault if it can't be submitted
   */
  submitRun?(
    context: Pick<ExecutorContext, 'dir' | 'env' | 'log' | 'spec'> & {
      readonly command: readonly string[];
    },
  ): Promise<SubmittedRun>;
  /**
   * Returns whether a run has submitted its first jobs, which it tells from the files in the run's
   * folder alone. `run --detach` waits until the run has.
   */
  hasSubmitted?(dir: string): Promise<boolean>;
  /**
   * Cancels every job that a run has submitted or adopted, so that a rerun submits their stages
   * anew. The files in the run's folder alone tell which jobs these are. Jobs that have ended are
   * left as they are.
   * @param context `dir`: the run's folder; the run may have used another executor
   */
  cancel?(context: Pick<ExecutorContext, 'dir' | 'env' | 'log'>): Promise<Cancelled>;
}

/** Makes a descriptor out of an executor's fields. Export it as the module's default. */
export const defineExecutor = (executor: Omit<ExecutorDescriptor, 'kind'>): ExecutorDescriptor => ({
  kind: 'executor',
  ...executor,
});

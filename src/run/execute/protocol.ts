/**
 * The messages between the scheduler and a worker process, as JSON over the channel of
 * `child_process.fork`.
 */
import type { Job, JobResult } from '../../api/executor.ts';

export type { Job, JobHooks, JobResult, PackedJob, PluginModule } from '../../api/executor.ts';

/**
 * A message to a worker. Several jobs form a pack: stages of one kind that share a job. `members`
 * are indexes of `jobs`.
 */
export type ToWorker =
  | { readonly type: 'run'; readonly jobs: readonly Job[] }
  | { readonly type: 'abort'; readonly members: readonly number[] };

/** A message from a worker. `leaving` means that the process must not be used again. */
export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'log'; readonly member: number; readonly message: string }
  | {
      readonly type: 'progress';
      readonly member: number;
      readonly done: number;
      readonly total: number;
      readonly unit: string;
    }
  | {
      readonly type: 'result';
      readonly member: number;
      readonly result: Exclude<JobResult, { type: 'exit' }>;
      readonly leaving?: true;
    };

/**
 * The messages between the scheduler and a worker process, as JSON over the channel of
 * `child_process.fork`.
 */
import type { Job, JobResult } from '../../api/executor.ts';

export type { Job, JobResult, PackedJob, PluginModule } from '../../api/executor.ts';

export type ToWorker = { readonly type: 'run'; readonly job: Job } | { readonly type: 'abort' };

/** A message from a worker. `leaving` means that the process must not be used again. */
export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'log'; readonly message: string }
  | {
      readonly type: 'progress';
      readonly done: number;
      readonly total: number;
      readonly unit: string;
    }
  | {
      readonly type: 'result';
      readonly result: Exclude<JobResult, { type: 'exit' }>;
      readonly leaving?: true;
    };

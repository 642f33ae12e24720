/** What the scheduler and a worker process say to each other (JSON over the channel of `child_process.fork`). */
import type { Job, JobResult } from '../api/executor.ts';

export type { Job, JobHooks, JobResult, PluginModule } from '../api/executor.ts';

export type ToWorker = { readonly type: 'run'; readonly job: Job } | { readonly type: 'abort' };

/** `leaving`: the process is not to be used again. */
export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'log'; readonly message: string }
  | { readonly type: 'progress'; readonly done: number; readonly total: number; readonly unit: string }
  | { readonly type: 'result'; readonly result: Exclude<JobResult, { type: 'exit' }>; readonly leaving?: true };

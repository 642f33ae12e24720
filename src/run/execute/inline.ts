/**
 * Performs the jobs of `inline` stages in this process. They run one at a time, so that anything
 * thrown meanwhile is the fault of the stage that is running.
 */
import type { StageDescriptor } from '../../api.ts';
import type { PluginKind } from '../../plan/graph.ts';
import { performJob, thrownResult } from './perform.ts';
import type { JobResult, PackedJob } from './protocol.ts';
import type { RuntimeRegistry } from './types.ts';

let turn: Promise<unknown> = Promise.resolve();

/** How long inline stages may keep the event loop (signals, heartbeats, flushes) waiting. */
const EVENTS_MS = 20;
let lastEvents = 0;

async function afterEvents<T>(task: () => Promise<T>): Promise<T> {
  if (performance.now() - lastEvents > EVENTS_MS) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    lastEvents = performance.now();
  }
  return task();
}

/** Runs `task` after those that were passed before it. A stage's time starts with its turn. */
export function inTurn<T>(task: () => Promise<T>): Promise<T> {
  const result = turn.then(() => afterEvents(task));
  turn = result.catch(() => undefined);
  return result;
}

/**
 * Performs a job. Like a worker, it never rejects on account of the job. On abort the stage is
 * asked to stop, and the result no longer waits for it.
 */
export async function performInline(
  { job, hooks, signal }: PackedJob,
  stage: StageDescriptor,
  registry: RuntimeRegistry,
): Promise<JobResult> {
  const plugin = (kind: string, name: string): unknown =>
    job.uses.some((use) => use.kind === kind && use.name === name)
      ? registry.get(kind as PluginKind, name)?.descriptor
      : undefined;
  let stop: (result: JobResult) => void = () => undefined;
  const stopped = new Promise<JobResult>((resolve) => {
    stop = resolve;
  });
  const onAbort = (): void => stop({ type: 'fault', message: 'it was asked to stop' });
  // Without this, a promise that the stage forgot or a throw in a callback would end the run.
  const onStray = (error: unknown): void => stop(thrownResult(error));
  process.on('uncaughtException', onStray).on('unhandledRejection', onStray);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  const performHooks = {
    log: (message: string) => hooks.onLog(message),
    progress: (done: number, total: number, unit: string) => hooks.onProgress(done, total, unit),
    plugin,
  };
  try {
    return await Promise.race([
      performJob(job, stage, performHooks, signal).catch(thrownResult),
      stopped,
    ]);
  } finally {
    process.off('uncaughtException', onStray).off('unhandledRejection', onStray);
    signal.removeEventListener('abort', onAbort);
  }
}

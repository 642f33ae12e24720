/** Runs stages that ask for it (`inline`) in this process, one at a time, so that whatever is thrown meanwhile is that stage's fault. */
import type { StageDescriptor } from '../api.ts';
import type { PluginKind } from '../plan/graph.ts';
import { perform, thrownResult } from './perform.ts';
import type { Job, JobHooks, JobResult } from './protocol.ts';
import type { RuntimeRegistry } from './types.ts';

let turn: Promise<unknown> = Promise.resolve();

/** Signals, heartbeats and flushes wait no longer than this for stages that do nothing but compute. */
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

/** After those that came before: a stage's time runs from its own turn. */
export function inTurn<T>(task: () => Promise<T>): Promise<T> {
  const result = turn.then(() => afterEvents(task));
  turn = result.catch(() => undefined);
  return result;
}

/** Like a worker's, it never rejects on account of the job. On abort the stage is asked to stop, and no longer waited for. */
export async function runInline(
  job: Job,
  stage: StageDescriptor,
  registry: RuntimeRegistry,
  hooks: JobHooks,
  signal: AbortSignal,
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
  // A promise that the stage forgot, or a throw in a callback, would end the run.
  const onStray = (error: unknown): void => stop(thrownResult(error));
  process.on('uncaughtException', onStray).on('unhandledRejection', onStray);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([
      perform(job, stage, { log: hooks.onLog, progress: hooks.onProgress, plugin }, signal).catch(
        thrownResult,
      ),
      stopped,
    ]);
  } finally {
    process.off('uncaughtException', onStray).off('unhandledRejection', onStray);
    signal.removeEventListener('abort', onAbort);
  }
}

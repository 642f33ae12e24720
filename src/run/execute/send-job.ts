/** Sends a job to a worker and passes on what it says. */
import type { FromWorker, JobResult, PackedJob, ToWorker } from './protocol.ts';
import type { WarmWorker } from './warm-worker.ts';
import { killWorker } from './warm-worker.ts';

/** How long after its exit a worker's last output may arrive. */
const LAST_OUTPUT_MS = 20;

/**
 * Returns the job's result, once the worker has nothing more to do. It never rejects.
 * @param graceMs how long an aborted stage may tidy up
 */
export function sendJob(
  worker: WarmWorker,
  { job, hooks, signal }: PackedJob,
  graceMs: number,
): Promise<JobResult> {
  const { process: child } = worker;
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined,
      ended = false;
    const onAbort = (): void => {
      send(worker, { type: 'abort' });
      timer = setTimeout(() => killWorker(worker), graceMs);
    };
    const onOutput = (chunk: Buffer): void => hooks.onOutput(chunk.toString('utf8'));
    const end = async (result: JobResult): Promise<void> => {
      if (ended) return;
      ended = true;
      await outputBefore();
      clearTimeout(timer);
      worker.onEnd = () => undefined;
      child.removeAllListeners('message');
      signal.removeEventListener('abort', onAbort);
      for (const stream of [child.stdout, child.stderr]) {
        stream.off('data', onOutput);
        stream.resume(); // an unread pipe would fill and block the worker
      }
      resolve(result);
    };
    const onExit = (): void =>
      void end({ type: 'exit', ...(worker.ended ?? { code: null, signal: null }) });
    child.stdout.on('data', onOutput);
    child.stderr.on('data', onOutput);
    void worker.ready.then(() => {
      if (worker.ended) {
        onExit();
        return;
      }
      // The event 'close' would wait for every grandchild that keeps the pipe open.
      worker.onEnd = () => setTimeout(onExit, LAST_OUTPUT_MS);
      child.on('message', (message: FromWorker) => {
        if (message.type === 'log') hooks.onLog(message.message);
        else if (message.type === 'progress')
          hooks.onProgress(message.done, message.total, message.unit);
        else if (message.type === 'result') {
          if (message.leaving) worker.spent = true;
          void end(message.result);
        }
      });
      send(worker, { type: 'run', job });
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  });
}

function send({ process: child }: WarmWorker, message: ToWorker): void {
  if (child.connected) child.send(message, () => undefined);
}

/**
 * Resolves when the output that a worker wrote to its pipes before it sent a result has arrived.
 */
const outputBefore = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(() => setImmediate(resolve));
  });

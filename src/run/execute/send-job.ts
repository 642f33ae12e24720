/** Sends the jobs of a pack to a worker and gathers what it says of each. */
import type { FromWorker, JobHooks, JobResult, PackedJob, ToWorker } from './protocol.ts';
import type { WarmWorker } from './warm-worker.ts';
import { killWorker } from './warm-worker.ts';

/** How long after its exit a worker's last output may arrive. */
const LAST_OUTPUT_MS = 20;

/** A job whose result is awaited. */
interface OpenJob extends PackedJob {
  readonly resolve: (result: JobResult) => void;
  /** Asks the stage to stop, and ends the process if it does not. */
  readonly abort: () => void;
}

/**
 * Returns the result of each job, in their order. If the process ends, so do all jobs still open.
 * @param graceMs how long an aborted stage may tidy up
 * @param onFree called when the worker has nothing more to do
 */
export function sendJobs(
  worker: WarmWorker,
  pack: readonly PackedJob[],
  graceMs: number,
  onFree: () => void,
): readonly Promise<JobResult>[] {
  const { process: child } = worker;
  const open = new Map<number, OpenJob>();
  const timers: NodeJS.Timeout[] = [];
  // Jobs that are stopped together are told so in one message. Else a worker that takes them one
  // after another could end one and begin the next before it hears that this one is stopped, too.
  const aborting: number[] = [];
  const abortAfterGrace = (member: number): void => {
    if (aborting.push(member) === 1)
      queueMicrotask(() => {
        send(worker, { type: 'abort', members: aborting.splice(0) });
      });
    timers.push(
      setTimeout(() => {
        if (open.has(member)) killWorker(worker);
      }, graceMs),
    );
  };
  const onOutput = (chunk: Buffer): void => {
    for (const { hooks } of open.values()) hooks.onOutput(chunk.toString('utf8'));
  };
  const stopListening = (): void => {
    timers.forEach(clearTimeout);
    worker.onEnd = () => undefined;
    child.removeAllListeners('message');
    for (const stream of [child.stdout, child.stderr]) {
      stream.off('data', onOutput);
      stream.resume(); // an unread pipe would fill and block the worker
    }
  };
  const end = async (member: number, result: JobResult): Promise<void> => {
    if (!open.has(member)) return;
    await outputBefore();
    const job = open.get(member);
    if (job === undefined) return;
    open.delete(member);
    job.signal.removeEventListener('abort', job.abort);
    if (open.size === 0) {
      stopListening();
      onFree();
    }
    job.resolve(result);
  };
  const endAll = (): void => {
    const exit: JobResult = { type: 'exit', ...(worker.ended ?? { code: null, signal: null }) };
    for (const member of [...open.keys()]) void end(member, exit);
  };
  const onMessage = (message: FromWorker): void => {
    if (message.type === 'ready') return;
    if (message.type !== 'result') {
      tell(open.get(message.member)?.hooks, message);
      return;
    }
    if (message.leaving) worker.spent = true;
    void end(message.member, message.result);
  };

  const results = pack.map(
    (job, member) =>
      new Promise<JobResult>((resolve) => {
        open.set(member, { ...job, resolve, abort: () => abortAfterGrace(member) });
      }),
  );
  child.stdout.on('data', onOutput);
  child.stderr.on('data', onOutput);
  void worker.ready.then(() => {
    if (worker.ended) {
      endAll();
      return;
    }
    // The event 'close' would wait for every grandchild that keeps the pipe open.
    worker.onEnd = () => setTimeout(endAll, LAST_OUTPUT_MS);
    child.on('message', onMessage);
    send(worker, { type: 'run', jobs: pack.map(({ job }) => job) });
    for (const { signal, abort } of open.values())
      if (signal.aborted) abort();
      else signal.addEventListener('abort', abort, { once: true });
  });
  return results;
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

function tell(
  hooks: JobHooks | undefined,
  message: Extract<FromWorker, { type: 'log' | 'progress' }>,
): void {
  if (message.type === 'log') hooks?.onLog(message.message);
  else hooks?.onProgress(message.done, message.total, message.unit);
}

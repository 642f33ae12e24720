/**
 * Warm worker processes. The scheduler decides how many run at once; the pool hands out a worker
 * that fits a job, or starts one.
 */
import type { Executor } from '../../api/executor.ts';
import { endMarked } from './offspring.ts';
import type { Job } from './protocol.ts';
import { sendJob } from './send-job.ts';
import type { Environment, WarmWorker } from './warm-worker.ts';
import { ending, killWorker, startWorker } from './warm-worker.ts';

export interface PoolOptions {
  /** The worker's module: `dist/worker.js`, or `worker.ts` under a loader. */
  readonly module: string;
  readonly limit: number;
  /** How long an aborted stage may tidy up. */
  readonly graceMs?: number;
  readonly env?: Environment;
}

export function createPool({
  graceMs = 5_000,
  env = process.env,
  ...options
}: PoolOptions): Executor {
  const workers = new Workers({ ...options, env });
  return {
    async run(job, hooks, signal) {
      const worker = workers.take(job);
      const result = await sendJob(worker, { job, hooks, signal }, graceMs);
      workers.giveBack(worker, job);
      return result;
    },
    forget: () => workers.forget(),
    close: () => workers.close(),
  };
}

class Workers {
  readonly #options: Pick<Required<PoolOptions>, 'module' | 'limit' | 'env'>;
  readonly #all = new Set<WarmWorker>();
  /** In the order in which they became idle. */
  readonly #idle: WarmWorker[] = [];
  /**
   * The marks of all workers ever started. The processes that they left behind have the same marks.
   */
  readonly #marks = new Set<string>();

  constructor(options: Pick<Required<PoolOptions>, 'module' | 'limit' | 'env'>) {
    this.#options = options;
  }

  /** Returns the idle worker that suits the job best, or a new one. */
  take(job: Job): WarmWorker {
    const { cpu, gpus = null } = job;
    const fits = (worker: WarmWorker): boolean =>
      (!job.compute || worker.cpu === cpu) && worker.gpus?.join() === gpus?.join();
    const best =
      this.#idle.findLast((worker) => fits(worker) && worker.lastKind === job.stage.name) ??
      this.#idle.findLast((worker) => fits(worker) && worker.compute === job.compute) ??
      this.#idle.findLast(fits);
    if (best !== undefined) {
      this.#removeIdle(best);
      return best;
    }
    if (this.#all.size >= this.#options.limit) {
      const oldest = this.#idle.shift();
      if (oldest) killWorker(oldest);
    }
    // While an idle worker is alive, its GPU memory is not free for the worker that gets the GPU.
    const isInTheWay = (worker: WarmWorker): boolean =>
      worker.gpus?.some((gpu) => gpus?.includes(gpu)) === true;
    for (const worker of this.#idle.filter(isInTheWay)) {
      this.#removeIdle(worker);
      killWorker(worker);
    }
    return this.#start(cpu, gpus);
  }

  /** @param job the job that the worker has done last */
  giveBack(worker: WarmWorker, job: Job): void {
    worker.lastKind = job.stage.name;
    worker.compute ||= job.compute;
    if (worker.spent) killWorker(worker);
    else if (!worker.ended) this.#idle.push(worker);
  }

  /** Ends every worker: the idle ones now, the busy ones after their job. */
  forget(): void {
    for (const worker of this.#all) worker.spent = true;
    for (const worker of this.#idle.splice(0)) killWorker(worker);
  }

  async close(): Promise<void> {
    await Promise.all(
      [...this.#all].map((worker) => {
        const ended = ending(worker);
        killWorker(worker);
        return ended;
      }),
    );
    endMarked(this.#marks);
    this.#marks.clear();
  }

  #start(cpu: number, gpus: readonly string[] | null): WarmWorker {
    const { module, env } = this.#options;
    const worker = startWorker(module, env, { cpu, gpus });
    this.#marks.add(worker.mark);
    this.#all.add(worker);
    const onLeft = (): void => {
      this.#all.delete(worker);
      this.#removeIdle(worker);
    };
    worker.process.on('exit', onLeft);
    worker.process.on('error', onLeft);
    return worker;
  }

  #removeIdle(worker: WarmWorker): void {
    const at = this.#idle.indexOf(worker);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}

/** p-queue with a second limit: the processor cores of what runs never exceed the machine's. */
import PQueue from 'p-queue';
import type { Queue, QueueAddOptions } from 'p-queue';

type Task = () => Promise<unknown>;
interface CpuOptions extends QueueAddOptions { readonly cpu?: number }
interface Waiting { readonly run: Task; readonly cpu: number; priority: number; readonly id: string | undefined }

export interface CpuQueue {
  /** Runs `task` when `cpu` cores are free; higher priority first, then first come. A wide task at the head is not overtaken, or it would wait for ever. */
  add<T>(task: () => Promise<T>, options: { readonly cpu: number; readonly priority: number }): Promise<T>;
  readonly waiting: number;
}

export function createCpuQueue(cores: number): CpuQueue {
  let free = cores;

  class HeadFits implements Queue<Task, CpuOptions> {
    readonly #waiting: Waiting[] = [];
    /** What p-queue may start now: nothing while the head is wider than what is free. */
    get size(): number { const head = this.#waiting[0]; return head && head.cpu <= free ? this.#waiting.length : 0; }
    filter(options: Readonly<Partial<CpuOptions>>): Task[] { return this.#waiting.filter(({ priority }) => priority === (options.priority ?? 0)).map(({ run }) => run); }
    enqueue(run: Task, options?: Partial<CpuOptions>): void {
      const item: Waiting = { run, cpu: options?.cpu ?? 1, priority: options?.priority ?? 0, id: options?.id };
      let low = 0, high = this.#waiting.length;
      while (low < high) { const mid = (low + high) >> 1; if (this.#waiting[mid]!.priority >= item.priority) low = mid + 1; else high = mid; }
      this.#waiting.splice(low, 0, item);
    }
    dequeue(): Task | undefined {
      const item = this.#waiting.shift();
      if (item) free -= item.cpu;
      return item?.run;
    }
    setPriority(id: string, priority: number): void {
      const at = this.#waiting.findIndex((item) => item.id === id);
      if (at < 0) throw new ReferenceError(`no task "${id}"`);
      const [item] = this.#waiting.splice(at, 1);
      this.enqueue(item!.run, { cpu: item!.cpu, priority, id });
    }
  }

  const queue = new PQueue<HeadFits, CpuOptions>({ concurrency: cores, queueClass: HeadFits });
  return {
    add(task, { cpu, priority }) {
      return queue.add(async () => {
        try { return await task(); } finally { free += cpu; }
      }, { cpu, priority }).finally(() => {
        // One wide task's end may make room for several: p-queue starts one by itself, this starts the rest.
        queue.concurrency = cores;
      });
    },
    get waiting() { return queue.size; },
  };
}

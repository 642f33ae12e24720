/** p-queue with a second limit: cores, memory and GPUs of what runs never exceed the machine's. */
import type { Queue, QueueAddOptions } from 'p-queue';
import PQueue from 'p-queue';
import type { Machine, Need } from './resources.ts';

type Task = () => Promise<unknown>;
/** GPUs by identity; which, is known when the task starts. */
interface Grant {
  gpus: readonly string[];
}
interface NeedOptions extends QueueAddOptions {
  readonly need?: Need;
  readonly grant?: Grant;
}
interface Waiting {
  readonly run: Task;
  readonly need: Need;
  readonly grant: Grant;
  priority: number;
  readonly id: string | undefined;
}

export interface StageQueue {
  /**
   * Runs `task` when what it needs is free, with the GPUs that are its own meanwhile; higher priority first, then first come.
   * A task at the head that needs much is not overtaken, or it would wait for ever.
   * @param need no more than the machine has
   */
  add<T>(
    task: (gpus: readonly string[]) => Promise<T>,
    options: { readonly need: Need; readonly priority: number },
  ): Promise<T>;
  readonly waiting: number;
}

const NOTHING: Need = { cpu: 1, memoryMB: 0, gpu: 0 };

export function createQueue({ cores, memoryMB = Infinity, gpus = [] }: Machine): StageQueue {
  const free = { cpu: cores, memoryMB, gpus: [...gpus] };
  const fits = ({ cpu, memoryMB: memory, gpu }: Need): boolean =>
    cpu <= free.cpu && memory <= free.memoryMB && gpu <= free.gpus.length;

  class HeadFits implements Queue<Task, NeedOptions> {
    readonly #waiting: Waiting[] = [];
    /** What p-queue may start now: nothing while the head needs more than what is free. */
    get size(): number {
      const head = this.#waiting[0];
      return head && fits(head.need) ? this.#waiting.length : 0;
    }
    filter(options: Readonly<Partial<NeedOptions>>): Task[] {
      return this.#waiting
        .filter(({ priority }) => priority === (options.priority ?? 0))
        .map(({ run }) => run);
    }
    enqueue(run: Task, options?: Partial<NeedOptions>): void {
      const item: Waiting = {
        run,
        need: options?.need ?? NOTHING,
        grant: options?.grant ?? { gpus: [] },
        priority: options?.priority ?? 0,
        id: options?.id,
      };
      let low = 0,
        high = this.#waiting.length;
      while (low < high) {
        const mid = (low + high) >> 1;
        if (this.#waiting[mid]!.priority >= item.priority) low = mid + 1;
        else high = mid;
      }
      this.#waiting.splice(low, 0, item);
    }
    dequeue(): Task | undefined {
      const item = this.#waiting.shift();
      if (!item) return undefined;
      free.cpu -= item.need.cpu;
      free.memoryMB -= item.need.memoryMB;
      item.grant.gpus = free.gpus.splice(0, item.need.gpu);
      return item.run;
    }
    setPriority(id: string, priority: number): void {
      const at = this.#waiting.findIndex((item) => item.id === id);
      if (at < 0) throw new ReferenceError(`no task "${id}"`);
      const [item] = this.#waiting.splice(at, 1);
      const { run, need, grant } = item!;
      this.enqueue(run, { need, grant, priority, id });
    }
  }

  const queue = new PQueue<HeadFits, NeedOptions>({ concurrency: cores, queueClass: HeadFits });
  return {
    add(task, { need, priority }) {
      const grant: Grant = { gpus: [] };
      return queue
        .add(
          async () => {
            try {
              return await task(grant.gpus);
            } finally {
              free.cpu += need.cpu;
              free.memoryMB += need.memoryMB;
              // The one that was used last comes first: a worker that has it is warm.
              free.gpus.unshift(...grant.gpus);
            }
          },
          { need, grant, priority },
        )
        .finally(() => {
          // One wide task's end may make room for several: p-queue starts one by itself, this starts the rest.
          queue.concurrency = cores;
        });
    },
    get waiting() {
      return queue.size;
    },
  };
}

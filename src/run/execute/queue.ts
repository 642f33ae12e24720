/**
 * The queue of stages. It adds limits to p-queue, so that running stages never take more cores,
 * memory and GPUs than the machine has.
 */
import type { Queue, QueueAddOptions } from 'p-queue';
import PQueue from 'p-queue';
import type { Machine, Need } from './resources.ts';

type Task = () => Promise<unknown>;
/** The GPUs that a task has to itself, by identity; they are chosen when it starts. */
interface Grant {
  gpus: readonly string[];
}
interface NeedOptions extends QueueAddOptions, Partial<Pick<Turn, 'need' | 'place'>> {
  readonly grant?: Grant;
}
interface Waiting extends Turn {
  readonly run: Task;
  readonly grant: Grant;
  readonly id: string | undefined;
}

/** When a task's turn comes among those that wait. */
export interface Turn {
  readonly need: Need;
  /** Higher priorities go first. */
  readonly priority: number;
  /** Among those of the same priority, lower places go first. */
  readonly place: number;
}

/** Sorts by turn. */
export const byTurn = (a: Turn, b: Turn): number => b.priority - a.priority || a.place - b.place;

export interface StageQueue {
  /**
   * Runs `task` when what it needs is free. Only the first of those that wait may start, since one
   * that needs much would otherwise wait for ever.
   * @param task gets the GPUs that no other task may use meanwhile
   * @param turn.need no more than the machine has
   */
  add<T>(task: (gpus: readonly string[]) => Promise<T>, turn: Turn): Promise<T>;
  readonly waiting: number;
}

const NOTHING: Need = { cpu: 1, memoryMB: 0, gpu: 0 };

export function createQueue(machine: Machine): StageQueue {
  const free = new FreeResources(machine);
  // p-queue calls the queue's constructor itself, without arguments.
  class Waitlist extends HeadFits {
    constructor() {
      super(free);
    }
  }
  const queue = new PQueue<Waitlist, NeedOptions>({
    concurrency: machine.cores,
    queueClass: Waitlist,
  });
  return {
    add(task, { need, priority, place }) {
      const grant: Grant = { gpus: [] };
      const run = async () => {
        try {
          return await task(grant.gpus);
        } finally {
          free.giveBack(need, grant);
        }
      };
      return queue.add(run, { need, grant, priority, place }).finally(() => {
        // The end of one wide task may make room for several others. p-queue starts one of them;
        // setting its concurrency makes it start the rest.
        queue.concurrency = machine.cores;
      });
    },
    get waiting() {
      return queue.size;
    },
  };
}

/** The resources of the machine that running tasks leave free. */
class FreeResources {
  #cpu: number;
  #memoryMB: number;
  readonly #gpus: string[];

  constructor({ cores, memoryMB = Infinity, gpus = [] }: Machine) {
    this.#cpu = cores;
    this.#memoryMB = memoryMB;
    this.#gpus = [...gpus];
  }

  has({ cpu, memoryMB, gpu }: Need): boolean {
    return cpu <= this.#cpu && memoryMB <= this.#memoryMB && gpu <= this.#gpus.length;
  }

  take({ cpu, memoryMB, gpu }: Need, grant: Grant): void {
    this.#cpu -= cpu;
    this.#memoryMB -= memoryMB;
    grant.gpus = this.#gpus.splice(0, gpu);
  }

  giveBack({ cpu, memoryMB }: Need, { gpus }: Grant): void {
    this.#cpu += cpu;
    this.#memoryMB += memoryMB;
    this.#gpus.unshift(...gpus); // the most recently used come first: a worker that has them is warm
  }
}

/** The tasks that wait, by priority, place and arrival. Only the head may start. */
class HeadFits implements Queue<Task, NeedOptions> {
  readonly #free: FreeResources;
  readonly #waiting: Waiting[] = [];

  constructor(free: FreeResources) {
    this.#free = free;
  }

  /** The size that p-queue sees: 0 as long as the head needs more than is free. */
  get size(): number {
    const [head] = this.#waiting;
    return head && this.#free.has(head.need) ? this.#waiting.length : 0;
  }

  filter(options: Readonly<Partial<NeedOptions>>): Task[] {
    return this.#waiting
      .filter(({ priority }) => priority === (options.priority ?? 0))
      .map(({ run }) => run);
  }

  enqueue(run: Task, options?: Partial<NeedOptions>): void {
    this.#insert({
      run,
      need: options?.need ?? NOTHING,
      grant: options?.grant ?? { gpus: [] },
      priority: options?.priority ?? 0,
      place: options?.place ?? 0,
      id: options?.id,
    });
  }

  dequeue(): Task | undefined {
    const item = this.#waiting.shift();
    if (!item) return undefined;
    this.#free.take(item.need, item.grant);
    return item.run;
  }

  setPriority(id: string, priority: number): void {
    const item = this.#waiting.find((one) => one.id === id);
    if (item === undefined) throw new ReferenceError(`no task "${id}"`);
    this.#waiting.splice(this.#waiting.indexOf(item), 1);
    this.#insert({ ...item, priority });
  }

  #insert(item: Waiting): void {
    let low = 0,
      high = this.#waiting.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (byTurn(item, this.#waiting[mid]!) < 0) high = mid;
      else low = mid + 1;
    }
    this.#waiting.splice(low, 0, item);
  }
}

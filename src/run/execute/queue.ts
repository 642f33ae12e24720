/**
 * The queue of stages. Stages that run never take more cores, memory and GPUs than the machine has.
 */
import type { Machine, Need } from './resources.ts';

/** What decides when a waiting task's turn comes. */
export interface Turn {
  /** What the task takes, no more than the machine has. */
  readonly need: Need;
  /** Higher priorities go first. */
  readonly priority: number;
  /** Within a priority, lower places go first; of equal places, the task that came first. */
  readonly place: number;
}

export const byTurn = (a: Turn, b: Turn): number => b.priority - a.priority || a.place - b.place;

/**
 * Returns where to insert a turn: after those with the same priority and place.
 * @param waiting sorted by `byTurn`
 */
function insertionIndex(turn: Turn, waiting: readonly Turn[]): number {
  let low = 0,
    high = waiting.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (byTurn(waiting[middle]!, turn) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

export interface StageQueue {
  /**
   * Runs a task when what it needs is free. Only the first waiting task may start: if others could
   * overtake it, a task that needs much would wait for ever.
   * @param task gets the GPUs that no other task may use while it runs
   */
  add<T>(task: (gpus: readonly string[]) => Promise<T>, turn: Turn): Promise<T>;
}

export function createQueue({ cores, memoryMB = Infinity, gpus = [] }: Machine): StageQueue {
  const free = { cpu: cores, memoryMB, gpus: [...gpus] };
  const waiting: (Turn & { readonly start: () => void })[] = [];
  let running = 0;
  const fits = ({ cpu, memoryMB: memory, gpu }: Need): boolean =>
    cpu <= free.cpu && memory <= free.memoryMB && gpu <= free.gpus.length;
  /** Starts waiting tasks, in order, until the first does not fit. */
  const startNext = (): void => {
    // If nothing runs, all is free, although `free` may be off by the rounding of fractional cores.
    for (
      let [head] = waiting;
      head !== undefined && (running === 0 || fits(head.need));
      [head] = waiting
    ) {
      waiting.shift();
      head.start();
    }
  };
  /**
   * Runs a task with what it needs taken from `free`. Gives this back when the task ends, and
   * starts the next.
   */
  const run = async <T>(
    task: (granted: readonly string[]) => Promise<T>,
    { cpu, memoryMB: memory, gpu }: Need,
  ): Promise<T> => {
    running++;
    free.cpu -= cpu;
    free.memoryMB -= memory;
    const granted = free.gpus.splice(0, gpu);
    try {
      return await task(granted);
    } finally {
      running--;
      free.cpu += cpu;
      free.memoryMB += memory;
      free.gpus.unshift(...granted); // granted first next time: a warm worker has them
      startNext();
    }
  };
  return {
    add: (task, turn) =>
      new Promise((resolve) => {
        const start = (): void => resolve(run(task, turn.need));
        waiting.splice(insertionIndex(turn, waiting), 0, { ...turn, start });
        startNext();
      }),
  };
}

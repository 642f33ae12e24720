/**
 * The queue of stages: running stages never take more cores, memory and GPUs than the machine has.
 */
import type { Machine, Need } from './resources.ts';

/** When a task's turn comes among those that wait. */
export interface Turn {
  /** No more than the machine has. */
  readonly need: Need;
  /** Higher priorities go first. */
  readonly priority: number;
  /** Among those of the same priority, lower places go first, and of equal ones the earlier. */
  readonly place: number;
}

/** Sorts by turn. */
export const byTurn = (a: Turn, b: Turn): number => b.priority - a.priority || a.place - b.place;

/** Returns the index at which a turn is inserted into a sorted list, after equal ones. */
function placeOf(turn: Turn, waiting: readonly Turn[]): number {
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
   * Runs `task` when what it needs is free. Only the first of those that wait may start, since one
   * that needs much would otherwise wait for ever.
   * @param task gets the GPUs that no other task may use meanwhile
   */
  add<T>(task: (gpus: readonly string[]) => Promise<T>, turn: Turn): Promise<T>;
}

export function createQueue({ cores, memoryMB = Infinity, gpus = [] }: Machine): StageQueue {
  const free = { cpu: cores, memoryMB, gpus: [...gpus] };
  const waiting: (Turn & { readonly start: () => void })[] = [];
  let running = 0;
  const fits = ({ cpu, memoryMB: memory, gpu }: Need): boolean =>
    cpu <= free.cpu && memory <= free.memoryMB && gpu <= free.gpus.length;
  const startNext = (): void => {
    // If nothing runs, everything is free: `free` may be off by the rounding of fractional cores.
    for (
      let [head] = waiting;
      head !== undefined && (running === 0 || fits(head.need));
      [head] = waiting
    ) {
      waiting.shift();
      head.start();
    }
  };
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
      free.gpus.unshift(...granted); // these first: a worker that has them is warm
      startNext();
    }
  };
  return {
    add: (task, turn) =>
      new Promise((resolve) => {
        const start = (): void => resolve(run(task, turn.need));
        waiting.splice(placeOf(turn, waiting), 0, { ...turn, start });
        startNext();
      }),
  };
}

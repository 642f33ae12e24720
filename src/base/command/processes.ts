/**
 * Finds and ends the processes that a command leaves behind or has forked. They are found in /proc,
 * so only on Linux. Elsewhere they end with the worker, whose process group they belong to.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * The environment variable with a command's mark. Every process that the command starts inherits
 * it. A daemon leaves its parent and its group, but keeps its environment.
 */
export const MARK = 'DOSIMETER_COMMAND';

/**
 * Ends every process that has the mark, and resolves once all of them have ended. Returns how many
 * there were.
 */
export async function endMarked(mark: string): Promise<number> {
  const ended = new Map<number, string | undefined>(),
    sought = `\0${MARK}=${mark}\0`;
  // Repeated until none is left, since a process that is about to end may still start another.
  for (;;) {
    const found = processes().filter(
      (pid) => `\0${procFile(pid, 'environ')}`.includes(sought) && !hasEnded(pid),
    );
    for (const pid of found) {
      ended.set(pid, startOf(pid));
      kill(pid);
    }
    // A process that was killed loses its environment some time before it has ended.
    if (found.length === 0 && [...ended].every(([pid, start]) => hasEnded(pid, start)))
      return ended.size;
    await sleep(1);
  }
}

/** Ends a process and all processes that it forked. Without /proc, ends only the process itself. */
export function killTree(root: number): void {
  const children = new Map<number, number[]>();
  for (const pid of processes()) {
    const parent = Number(statOf(pid)[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const doomed = [root];
  for (const pid of doomed) doomed.push(...(children.get(pid) ?? [])); // grows while it is walked
  for (const pid of doomed) kill(pid);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // It has already ended, or belongs to another user: there is nothing more to do.
    if (!['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/** Returns all process ids, or none without /proc. */
function processes(): number[] {
  try {
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return [];
  }
}

/**
 * Returns the fields of `pid (name) state ppid …`, starting with the state. The name may contain
 * spaces and brackets.
 */
const statOf = (pid: number): string[] =>
  (procFile(pid, 'stat').split(') ').at(-1) ?? '').split(' ');

/** Returns when a process was started, in clock ticks since the machine's start. */
const startOf = (pid: number): string | undefined => statOf(pid)[19];

/**
 * Whether a process has ended. A zombie has. `start` tells the process from a later one that was
 * given the same id.
 */
function hasEnded(pid: number, start = startOf(pid)): boolean {
  const state = statOf(pid)[0] ?? '';
  return ['', 'Z', 'X'].includes(state) || startOf(pid) !== start;
}

function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return ''; // it has ended meanwhile, or is another user's
  }
}

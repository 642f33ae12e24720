/**
 * Finds and ends processes that a stage leaves behind, on Linux only. Elsewhere, only the processes
 * in a worker's group end, with the worker.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastingChildren } from '../../base/process-wide.ts';

/** The environment variable with a worker's mark, which the processes that it starts inherit. */
export const MARK = 'DOSIMETER_WORKER';

/** Returns what `read` returns; `fallback` if the process is gone or is another user's. */
function readOr<T>(fallback: T, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(code)) return fallback;
    throw error;
  }
}

function childrenOf(pid: number): number[] {
  const tasks = `/proc/${pid}/task`;
  return readOr<string[]>([], () => readdirSync(tasks))
    .flatMap((task) =>
      readOr('', () => readFileSync(`${tasks}/${task}/children`, 'utf8')).split(' '),
    )
    .filter((child) => child !== '')
    .map(Number)
    .filter(isRunning);
}

/** Whether a process runs. A zombie does not: it waits for its parent to ask how it ended. */
function isRunning(pid: number): boolean {
  const stat = readOr('', () => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return stat !== '' && !['Z', 'X'].includes(stat[stat.lastIndexOf(')') + 2] ?? '');
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/**
 * Ends all descendants of this process but `lastingChildren`, and waits until none of them runs.
 * Returns how many there were.
 */
export async function endChildren(): Promise<number> {
  const lasting = lastingChildren(),
    found = childrenOf(process.pid).filter((pid) => !lasting.has(pid));
  for (const pid of found) found.push(...childrenOf(pid)); // grows while it is walked
  for (const pid of found) kill(pid);
  while (found.some(isRunning)) await sleep(1);
  return found.length;
}

/**
 * Ends every other process with one of the marks, even a daemon: it leaves its parent and its
 * group, but keeps its environment.
 */
export function endMarked(marks: ReadonlySet<string>): void {
  if (process.platform !== 'linux' || marks.size === 0) return;
  // Repeated until none is left, since a process that is about to end may still start another.
  for (let found = 1; found > 0;) {
    found = 0;
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid) || pid === process.pid) continue;
      const entry = readOr('', () => readFileSync(`/proc/${pid}/environ`, 'latin1'))
        .split('\0')
        .find((variable) => variable.startsWith(`${MARK}=`));
      if (entry === undefined || !marks.has(entry.slice(MARK.length + 1)) || !isRunning(pid))
        continue;
      kill(pid);
      found++;
    }
  }
}

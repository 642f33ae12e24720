/** Processes that a stage leaves behind. Linux only: elsewhere what is in a worker's process group ends with it, and that is all. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A worker's environment holds its mark, and so does that of whatever it starts, wherever that goes. */
export const MARK = 'DOSIMETER_WORKER';

/** What is read under /proc may be gone by then, or another user's. */
function readOr<T>(fallback: T, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (
      ['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')
    )
      return fallback;
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

/** A zombie is no more than a number that waits to be asked for. */
function isRunning(pid: number): boolean {
  const stat = readOr('', () => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return stat !== '' && !['Z', 'X'].includes(stat[stat.lastIndexOf(')') + 2] ?? '');
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Ends this process's children, and theirs; resolves when they write no more. @returns how many there were */
export async function endChildren(): Promise<number> {
  const found = childrenOf(process.pid);
  for (const pid of found) found.push(...childrenOf(pid));
  for (const pid of found) end(pid);
  while (found.some(isRunning)) await sleep(1);
  return found.length;
}

/** Ends what bears one of these marks, this process apart: a daemon leaves its group and its parent, not its environment. */
export function endMarked(marks: ReadonlySet<string>): void {
  if (process.platform !== 'linux' || marks.size === 0) return;
  for (let found = 1; found > 0;) {
    // again, since what is about to end may still start another
    found = 0;
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid) || pid === process.pid) continue;
      const entry = readOr('', () => readFileSync(`/proc/${pid}/environ`, 'latin1'))
        .split('\0')
        .find((variable) => variable.startsWith(`${MARK}=`));
      if (entry === undefined || !marks.has(entry.slice(MARK.length + 1)) || !isRunning(pid))
        continue;
      end(pid);
      found++;
    }
  }
}

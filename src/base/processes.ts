/**
 * On Linux, ends the processes that a stage or command leaves running. On other systems, they end
 * with the worker.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastingChildren } from './process-wide.ts';
import { hasCode } from './system-error.ts';

/** The environment variable with a worker's mark, which every process that it starts inherits. */
export const WORKER_MARK = 'DOSIMETER_WORKER';

interface Process {
  readonly pid: number;
  /** When it was started; a later process with the same id has another time. */
  readonly started: string;
}

/** Returns what `read` returns; `fallback` if the process is gone or is another user's. */
function readOr<T>(fallback: T, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return fallback;
    throw error;
  }
}

/** Returns a process; null if it has ended, or is a zombie that its parent has yet to reap. */
function findRunning(pid: number): Process | null {
  const stat = readOr('', () => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  // `pid (name) state ppid …`: the name may contain spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
  const [state = '', started = ''] = [fields[0], fields[19]];
  return ['', 'Z', 'X'].includes(state) ? null : { pid, started };
}

/** Returns a process's running children, whichever thread started them; [] if it has ended. */
function findChildren(parent: number): Process[] {
  const tasks = `/proc/${parent}/task`;
  return readOr<string[]>([], () => readdirSync(tasks))
    .flatMap((task) =>
      readOr('', () => readFileSync(`${tasks}/${task}/children`, 'utf8')).split(' '),
    )
    .flatMap((child) => (child === '' ? [] : (findRunning(Number(child)) ?? [])));
}

/** Whether there is a process with this id, a zombie included. Works on every system. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
}

/** Kills a process. Returns false if it has already ended, or belongs to another user. */
function kill({ pid }: Process): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasCode(error, 'ESRCH', 'EPERM')) throw error;
    return false;
  }
}

/** Ends processes and all their descendants. Returns those that were ended. */
function endTrees(roots: readonly Process[]): Process[] {
  const doomed = [...roots];
  for (const { pid } of doomed) doomed.push(...findChildren(pid)); // grows while it is walked
  return doomed.filter(kill);
}

export const endTree = (pid: number): unknown => endTrees([{ pid, started: '' }]);

export const leftText = (count: number): string =>
  `it left ${count === 1 ? 'a process, which was' : `${count} processes, which were`} ended`;

/** Resolves once none of the processes runs. A killed process may take some time to end. */
export async function waitForEnd(processes: readonly Process[]): Promise<void> {
  const runs = ({ pid, started }: Process): boolean => findRunning(pid)?.started === started;
  while (processes.some(runs)) await sleep(1);
}

/**
 * Ends this process's children and their descendants, except `lastingChildren` with theirs. Returns
 * how many were ended.
 */
export async function endChildren(): Promise<number> {
  const lasting = lastingChildren();
  const ended = endTrees(findChildren(process.pid).filter(({ pid }) => !lasting.has(pid)));
  await waitForEnd(ended);
  return ended.length;
}

/**
 * Ends every other process that has one of the marks in its environment. This finds daemons too: a
 * daemon leaves its parent and its group, but keeps its environment. Returns the ended processes.
 * Does nothing except on Linux.
 * @param name the environment variable whose value is the mark
 */
export function endMarked(name: string, marks: ReadonlySet<string>): Process[] {
  const ended = new Map<string, Process>();
  if (process.platform !== 'linux' || marks.size === 0) return [];
  // Repeated until none is left, since a process that is about to end may still start another.
  for (let found = 1; found > 0;) {
    found = 0;
    for (const pid of readdirSync('/proc').map(Number)) {
      if (!Number.isInteger(pid) || pid === process.pid) continue;
      const mark = readOr('', () => readFileSync(`/proc/${pid}/environ`, 'latin1'))
        .split('\0')
        .find((variable) => variable.startsWith(`${name}=`))
        ?.slice(name.length + 1);
      const one = mark !== undefined && marks.has(mark) ? findRunning(pid) : null;
      if (one === null || !kill(one)) continue;
      ended.set(`${pid} ${one.started}`, one);
      found++;
    }
  }
  return [...ended.values()];
}

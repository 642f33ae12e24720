/**
 * `dosimeter exec --task FILE`: performs one job of a scheduler, wherever it was started. Each
 * stage is performed under a lease of its own, because a scheduler may start a job twice: a task
 * that survived its node's failure may run at the same time as its requeue.
 */
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type JobHooks,
  type JobResult,
  type ScheduledTask,
  type TaskEvent,
  type TaskMember,
  UserFault,
} from '../api.ts';
import { orIfMissing } from '../base/system-error.ts';
import { ownNames } from '../base/untrusted/paths.ts';
import type { ActionKey } from '../plan/types.ts';
import { fullDiskFault } from '../store/faults.ts';
import { type Lease, Leases } from '../store/lease.ts';
import { newOwner } from '../store/owner.ts';

const RESULT = 'result.json';
/** The mean time between attempts to take a lease that another process holds. */
const WAIT_MS = 1_000;

export interface TaskOptions {
  /** Gets what the stages print, and notes on their leases. */
  readonly print: (text: string) => void;
  /** Once aborted, the stages are asked to save their state and stop. */
  readonly signal: AbortSignal;
}

/**
 * Performs a task. Returns `done` once each of its stages has a result, from this process or
 * another. If the task is stopped before that, returns `saved` if each stage without a result has
 * not begun or has saved its state, else `lost`.
 * @throws UserFault if the file can't be read as a task
 */
export async function execTask(
  file: string,
  { print, signal }: TaskOptions,
): Promise<'done' | 'saved' | 'lost'> {
  const task = readTask(file);
  const events = openSync(task.events, 'a');
  const leases = new Leases(task.leases, newOwner());
  /** Appends an event to the task's file of events, unless the disk is full. */
  const tell = (event: TaskEvent): void => {
    try {
      writeSync(events, `${JSON.stringify(event)}\n`);
    } catch (error) {
      // On a full disk the event is lost; the stage's result names the disk.
      if (!(fullDiskFault(error, task.events) instanceof UserFault)) throw error;
    }
  };
  try {
    tell({ begun: true });
    const held: Held[] = [];
    for (const [index, member] of task.members.entries()) {
      const hooks = createHooks(index, print, tell);
      const lease = await awaitLease(member, leases, hooks, signal);
      if (lease !== null) held.push({ ...member, hooks, lease });
    }
    const notBegun =
      held.length > 0 && !signal.aborted
        ? await performHeld(held, task.graceSeconds * 1000, { print, signal })
        : new Set(task.members.map(({ dir }) => dir));
    for (const { lease } of held) lease.release();
    const open = task.members.filter(({ dir }) => !hasResult(dir));
    if (open.length === 0) return 'done';
    tell({ interrupted: true });
    const hasLostState = ({ dir, job: { resumeDir } }: TaskMember): boolean =>
      !notBegun.has(dir) && !hasFiles(resumeDir);
    return open.some(hasLostState) ? 'lost' : 'saved';
  } finally {
    leases.close();
    closeSync(events);
  }
}

/** A stage of the task whose lease this process holds. */
interface Held extends TaskMember {
  readonly hooks: JobHooks;
  readonly lease: Lease;
}

/** Reads the file of a task. Throws UserFault if it can't be read or is not JSON. */
function readTask(file: string): ScheduledTask {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ScheduledTask;
  } catch (error) {
    throw new UserFault(`${file} contains no task: ${(error as Error).message}`);
  }
}

/** Returns the names in a folder; null if there is no such folder. */
const namesIn = (dir: string): readonly string[] | null =>
  orIfMissing(null, () => readdirSync(dir));

/**
 * Whether a stage has a result. If its folder is gone, a coordinator has taken the result already.
 */
const hasResult = (dir: string): boolean => namesIn(dir)?.includes(RESULT) ?? true;

/** Whether a folder has anything in it; false if it is undefined or missing. */
const hasFiles = (dir: string | undefined): boolean =>
  dir !== undefined && (namesIn(dir)?.length ?? 0) > 0;

/**
 * Waits for a stage's lease and takes it. Returns null if the stage has a result by then, or if the
 * task is stopped.
 */
async function awaitLease(
  { job, dir }: TaskMember,
  leases: Leases,
  hooks: JobHooks,
  signal: AbortSignal,
): Promise<Lease | null> {
  const key = path.basename(dir) as ActionKey;
  for (let told = false; !signal.aborted && !hasResult(dir); told = true) {
    const taken = leases.take(key);
    if ('held' in taken) {
      if (!hasResult(dir)) return taken.held;
      taken.held.release();
      return null;
    }
    if (!told) hooks.onOutput(`${job.id}: another task is performing it; waiting\n`);
    await sleep(WAIT_MS * (0.75 + Math.random() / 2));
  }
  return null;
}

/**
 * Performs the stages whose leases are held, one after another, and writes the results. A stage
 * that was stopped before its end, or whose lease was lost, gets none. Returns the folders of the
 * stages that had not begun when the task was stopped.
 */
async function performHeld(
  held: readonly Held[],
  graceMs: number,
  { print, signal }: TaskOptions,
): Promise<ReadonlySet<string>> {
  const notBegun = new Set<string>();
  const [{ createPool }, { workerModule }] = await Promise.all([
    import('./execute/pool.ts'),
    import('./registry/build.ts'),
  ]);
  const pool = createPool({ module: workerModule(), limit: 1, graceMs });
  const isStopped = (): boolean => signal.aborted;
  try {
    // One after another, so that a stage that ends its process ends no other stage.
    for (const { job, dir, hooks, lease } of held) {
      if (isStopped()) {
        notBegun.add(dir);
        continue;
      }
      if (!lease.stands()) {
        print(`${job.id}: its lease was taken over\n`);
        continue;
      }
      // Removes what an earlier attempt left. Only the holder of the lease writes here.
      for (const name of ownNames(path.dirname(dir), path.basename(dir)))
        if (name.startsWith('files-'))
          rmSync(path.join(dir, name), { recursive: true, force: true });
      const folder = `files-${randomUUID()}`;
      const result = await pool.run(
        { ...job, outDir: path.join(dir, folder) },
        hooks,
        AbortSignal.any([signal, lease.lost]),
      );
      // A stage that was asked to stop has not failed. It goes on in the next attempt.
      if (isStopped() && result.type !== 'done') continue;
      if (!lease.stands()) print(`${job.id}: its lease was taken over; its result is discarded\n`);
      else writeOutcome(dir, { ...result, folder });
    }
  } finally {
    await pool.close();
  }
  return notBegun;
}

/**
 * Returns hooks that print a stage's output, and make events of its output, log and progress.
 * @param member the stage's index among the task's members, by which events name the stage
 */
const createHooks = (
  member: number,
  print: (text: string) => void,
  tell: (event: TaskEvent) => void,
): JobHooks => ({
  onOutput(text) {
    print(text);
    tell({ member, printed: text });
  },
  onLog: (message) => tell({ member, log: message }),
  onProgress: (done, total, unit) => tell({ member, done, total, unit }),
});

/**
 * Writes a stage's result. If the stage has failed, its files are removed first, which makes room
 * on a full disk. If there is no room for the result of a success, the stage has failed.
 */
function writeOutcome(dir: string, result: JobResult & { readonly folder: string }): void {
  const { folder } = result;
  const outDir = path.join(dir, folder);
  const discard = (): void => rmSync(outDir, { recursive: true, force: true });
  if (result.type !== 'done') discard();
  try {
    writeResult(dir, result);
  } catch (error) {
    const fault = fullDiskFault(error, dir);
    if (!(fault instanceof UserFault)) throw error;
    discard();
    const { message, hint } = fault;
    const full = { type: 'fault', message, cutOff: true, folder } as const;
    writeResult(dir, hint === undefined ? full : { ...full, hint });
  }
}

/** Writes a result whole, unless another task has written one. */
function writeResult(dir: string, result: JobResult & { readonly folder: string }): void {
  const draft = path.join(dir, `.${RESULT}.${randomUUID()}`);
  try {
    const handle = openSync(draft, 'wx');
    try {
      writeSync(handle, JSON.stringify(result));
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    linkSync(draft, path.join(dir, RESULT));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // The file system has no hard links. The lease keeps other tasks away.
    if (code === 'EPERM' || code === 'ENOTSUP') renameSync(draft, path.join(dir, RESULT));
    // Another task was faster, or a network file system was late to report success.
    else if (code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Reads what Slurm's commands print. Lines that are not of the expected form are left out. */

/** A job, or an element of an array, as squeue or sacct shows it. */
export interface Row {
  /** `123` or `123_4`. */
  readonly id: string;
  readonly name: string;
  /** The index in the array; 0 for a job outside an array. */
  readonly index: number;
  /** Slurm's state, such as `PENDING`, without a remark: `CANCELLED by 0` is `CANCELLED`. */
  readonly state: string;
  /** Why it waits, or how it ended. */
  readonly reason: string;
  /** The nodes that it has. */
  readonly nodes: string;
}

/** The fields of squeue that `parseQueue` reads. Our names of jobs do not contain the separator. */
export const QUEUE_FORMAT = '%i|%F|%K|%T|%j|%N|%r';

const STATE = /^[A-Z][A-Z_]*$/;
const whole = (text: string): number | null => (/^\d+$/.test(text) ? Number(text) : null);

/** Reads `squeue --noheader --array --format=QUEUE_FORMAT`. */
export function parseQueue(text: string): readonly Row[] {
  return text.split('\n').flatMap((line): Row[] => {
    const [id = '', , index = '', state = '', name = '', nodes = '', ...reason] = line
      .trim()
      .split('|');
    if (!/^\d+(_\d+)?$/.test(id) || !STATE.test(state) || name === '') return [];
    return [{ id, name, index: whole(index) ?? 0, state, reason: reason.join('|'), nodes }];
  });
}

/** The fields of sacct that `parseAccounts` reads. */
export const ACCOUNT_FORMAT = 'JobID,JobName,State,NodeList,ExitCode';

/**
 * Reads `sacct --parsable2 --noheader --allocations --format=ACCOUNT_FORMAT`. Of several records of
 * one job (it was requeued), the last counts.
 */
export function parseAccounts(text: string): readonly Row[] {
  const rows = new Map<string, Row>();
  for (const line of text.split('\n')) {
    const [id = '', name = '', state = '', nodes = '', exit = ''] = line.trim().split('|');
    const job = /^\d+(?:_(\d+))?$/.exec(id);
    const [word = ''] = state.split(' ');
    if (job === null || !STATE.test(word) || name === '') continue;
    const index = Number(job[1] ?? 0);
    rows.set(`${name} ${index}`, { id, name, index, state: word, reason: exit, nodes });
  }
  return [...rows.values()];
}

/** Reads the id that `sbatch --parsable` prints (`ID` or `ID;CLUSTER`), or returns null. */
export const parseSubmission = (text: string): string | null =>
  /^(\d+)(?:;\S+)?$/m.exec(text.trim())?.[1] ?? null;

/** Reads MaxArraySize of `scontrol show config`, or returns null. */
export function parseArraySize(text: string): number | null {
  const size = whole(/^MaxArraySize\s*=\s*(\d+)\s*$/m.exec(text)?.[1] ?? '');
  return size === null || size < 1 ? null : size;
}

/**
 * What the state of a job means. `cut`: it was ended from outside, and may go on elsewhere.
 * `unknown`: the state is not in the table below, and counts as active.
 */
export type Phase = 'active' | 'ended' | 'cut' | 'cancelled' | 'memory' | 'unknown';

const PHASES: Readonly<Record<string, Phase>> = {
  PENDING: 'active',
  RUNNING: 'active',
  SUSPENDED: 'active',
  COMPLETING: 'active',
  CONFIGURING: 'active',
  REQUEUED: 'active',
  REQUEUE_FED: 'active',
  REQUEUE_HOLD: 'active',
  RESIZING: 'active',
  SIGNALING: 'active',
  STAGE_OUT: 'active',
  STOPPED: 'active',
  SPECIAL_EXIT: 'active',
  RESV_DEL_HOLD: 'active',
  COMPLETED: 'ended',
  FAILED: 'ended',
  TIMEOUT: 'cut',
  DEADLINE: 'cut',
  PREEMPTED: 'cut',
  NODE_FAIL: 'cut',
  BOOT_FAIL: 'cut',
  LAUNCH_FAILED: 'cut',
  RECONFIG_FAIL: 'cut',
  REVOKED: 'cut',
  CANCELLED: 'cancelled',
  OUT_OF_MEMORY: 'memory',
};

export const phaseOf = (state: string): Phase =>
  Object.hasOwn(PHASES, state) ? (PHASES[state] ?? 'unknown') : 'unknown';

/** Returns a pattern that matches any of these words, in upper or lower case. */
export function anyOf(words: readonly string[]): RegExp {
  return new RegExp(words.join('|'), 'i');
}

/** What an error of sbatch means: no room at present, possibly submitted, or refused. */
export type Refusal = 'full' | 'uncertain' | 'refused';

/** Limits on the number of jobs, which are temporary. Slurm names the limit in its message. */
const FULL = /MaxSubmitJob|MaxSubmitPU|MaxJobCount|temporarily unable to accept job/i;
/** What sbatch says if the controller was not reached, or did not answer. */
const UNCERTAIN = anyOf([
  'timed out',
  'Unable to contact slurm controller',
  'Unable to establish control',
  'Zero Bytes were transmitted',
  'Communication connection failure',
  'Connection refused',
  'Transport endpoint',
  'Resource temporarily unavailable',
  'Protocol authentication error',
  'Socket',
]);

/** @param stderr what sbatch said */
export const refusalOf = (stderr: string): Refusal =>
  FULL.test(stderr) ? 'full' : UNCERTAIN.test(stderr) ? 'uncertain' : 'refused';

/** A node's name as it may be given to `--exclude`; null for anything else. */
export const nodeName = (text: string): string | null =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/.test(text.trim()) ? text.trim() : null;

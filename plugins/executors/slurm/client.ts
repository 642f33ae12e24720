/**
 * Calls Slurm's commands, without a shell and each with a time-out, and reads what they print.
 * Lines that are not of the expected form are left out, but a line of squeue that lacks fields
 * makes the whole call count as failed.
 */
import { spawn } from 'node:child_process';
import { UserFault } from '../../../src/api.ts';

type Env = Readonly<Record<string, string | undefined>>;

/** How a call of a command ended. `late`: its time-out killed it. */
export interface Called {
  /** The exit code; null if the command was killed or could not be started. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly late: boolean;
  /** Why the command could not be started, such as `ENOENT`; null if it was. */
  readonly error: string | null;
}

export type Submitted =
  | { readonly type: 'submitted'; readonly id: string }
  /** There is no room for more jobs now. `waited`: sbatch itself tried again until its time-out. */
  | { readonly type: 'full'; readonly message: string; readonly waited: boolean }
  /** The job may have been submitted; if so, squeue shows a job of the submission's name. */
  | { readonly type: 'uncertain'; readonly message: string }
  | { readonly type: 'refused'; readonly message: string };

export type SlurmClient = ReturnType<typeof createClient>;

/** The most characters that are kept of a command's stdout: enough for more than 100,000 jobs. */
const OUTPUT_LIMIT = 64 * 2 ** 20;

/**
 * Returns `env` without undefined values and without the variables that Slurm sets in a job, which
 * sbatch would take for options. `SLURM_CONF` stays.
 */
export function slurmEnvironment(env: Env): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined) continue;
    const ofJob = /^(SLURM|SLURMD|SBATCH|SRUN|SALLOC|SQUEUE|SACCT)_/.test(name);
    if (!ofJob || name === 'SLURM_CONF') kept[name] = value;
  }
  return kept;
}

/**
 * Runs a program, and resolves to how it ended; never rejects. After `seconds`, the program and all
 * processes that it started are killed. Of long outputs, only the beginning is kept.
 */
function callCommand(
  program: string,
  args: readonly string[],
  env: Record<string, string>,
  seconds: number,
): Promise<Called> {
  return new Promise((resolve) => {
    const child = spawn(program, [...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // the child leads a process group, which `kill` ends as a whole
    });
    let stdout = '',
      stderr = '',
      late = false;
    const end = (code: number | null, error: string | null): void => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr, late, error });
    };
    const kill = (): void => {
      late = true;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // the process has ended
      }
      for (const stream of [child.stdout, child.stderr]) stream.destroy();
    };
    const timer = setTimeout(kill, seconds * 1000);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (stdout.length < OUTPUT_LIMIT) stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (stderr.length < 10_000) stderr += text;
    });
    child.once('error', (error: NodeJS.ErrnoException) => end(null, error.code ?? error.message));
    child.once('close', (code) => end(code, null));
  });
}

/** Returns a client that calls Slurm's commands, and logs each call that fails. */
export function createClient({
  env,
  callSeconds,
  log,
}: {
  readonly env: Env;
  readonly callSeconds: number;
  readonly log: (message: string) => void;
}) {
  const clean = slurmEnvironment(env);
  const run = async (program: string, args: readonly string[]): Promise<Called> => {
    const called = await callCommand(program, args, clean, callSeconds);
    if (called.code !== 0) log(`${program}: ${failureText(called, callSeconds)}`);
    return called;
  };
  return {
    /**
     * Calls sbatch. Returns `submitted` if sbatch printed an id, `refused` if it could not be
     * started, and else what its stderr says. But `refused` becomes `uncertain` after a time-out,
     * or if the call succeeded and printed no id.
     */
    async submit(args: readonly string[]): Promise<Submitted> {
      const called = await run('sbatch', args);
      const message = failureText(called, callSeconds);
      const id = called.code === 0 ? parseSubmission(called.stdout) : null;
      if (id !== null) return { type: 'submitted', id };
      if (called.error !== null) return { type: 'refused', message };
      const refusal = classifyRefusal(called.stderr);
      if (refusal === 'full')
        return { type: 'full', message: outputText(called), waited: called.late };
      if (called.late || called.code === 0) return { type: 'uncertain', message };
      return { type: refusal, message };
    },
    /**
     * Returns every job of this user that Slurm remembers; null if the call failed or its answer
     * lacks fields.
     */
    async queue(): Promise<readonly Row[] | null> {
      const called = await run('squeue', [
        '--me',
        '--noheader',
        '--array',
        '--states=all',
        `--format=${QUEUE_FORMAT}`,
      ]);
      return called.code === 0 && isWellFormed(called.stdout) ? parseQueue(called.stdout) : null;
    },
    /**
     * Returns sacct's records of the jobs with these names; null if there is no accounting or the
     * call failed.
     * @param since the time of the earliest submission. Without a time, sacct leaves out all jobs
     *   before the last midnight.
     */
    async accounts(names: readonly string[], since: Date): Promise<readonly Row[] | null> {
      const called = await run('sacct', [
        '--noheader',
        '--parsable2',
        '--allocations',
        `--starttime=${slurmTime(since)}`,
        `--name=${names.join()}`,
        `--format=${ACCOUNT_FORMAT}`,
      ]);
      return called.code === 0 ? parseAccounts(called.stdout) : null;
    },
    /**
     * Cancels the jobs of this name: all of them, or only `ids` if there are any. Returns whether
     * scancel succeeded.
     */
    async cancel(name: string, ids: readonly string[] = []): Promise<boolean> {
      return (await run('scancel', ['--me', `--name=${name}`, ...ids])).code === 0;
    },
    /** Returns the site's MaxArraySize; null if the query failed or does not name it. */
    async arraySize(): Promise<number | null> {
      return parseArraySize((await run('scontrol', ['show', 'config'])).stdout);
    },
  };
}

/**
 * Whether every line but empty ones has the seven fields of QUEUE_FORMAT. The last field may
 * contain `|`.
 */
const isWellFormed = (text: string): boolean =>
  text.split('\n').every((line) => line.trim() === '' || line.split('|').length >= 7);

/** Returns local time without a zone, as sacct reads it: `2026-01-31T12:00:00`. */
function slurmTime(time: Date): string {
  const local = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

/** Returns why a call failed, in words; for a call that succeeded, what it printed. */
function failureText(called: Called, seconds: number): string {
  const { late, error } = called;
  if (error !== null) return error === 'ENOENT' ? 'it is not on the PATH' : error;
  return late ? `no answer within ${seconds} s` : outputText(called);
}

/**
 * Returns what a command printed on stderr or else on stdout, on one line and without a leading
 * `sbatch: error:`; its exit code if it printed nothing.
 */
function outputText({ code, stderr, stdout }: Called): string {
  const said = (stderr.trim() === '' ? stdout : stderr).trim().replaceAll(/\s*\n\s*/g, '; ');
  return said === '' ? `exit code ${String(code)}` : said.replace(/^(sbatch: )?(error: )?/, '');
}

/** Throws UserFault if there is no sbatch on this machine. Ignores any other failure of sbatch. */
export async function checkCommands(env: Env): Promise<void> {
  const called = await callCommand('sbatch', ['--version'], slurmEnvironment(env), 30);
  if (called.error === 'ENOENT')
    throw new UserFault(
      'there is no sbatch on this machine',
      'start the run on a login node of the cluster, or leave out --executor slurm',
    );
}

/** A job, or an element of an array, as squeue or sacct shows it. */
export interface Row {
  /** The job's id: `123`, or `123_4` for an element of an array. */
  readonly id: string;
  readonly name: string;
  /** The index in the array; 0 for a job outside an array. */
  readonly index: number;
  /** The job's state, such as `PENDING`, without a remark: `CANCELLED by 0` is `CANCELLED`. */
  readonly state: string;
  /** Why the job waits (squeue), or its exit code and signal, such as `0:9` (sacct). */
  readonly reason: string;
  /** The job's nodes, such as `node[1-2]`. */
  readonly nodes: string;
}

/**
 * The job's id, the id of its array, its index there, state, name, nodes and reason. Our jobs'
 * names contain no `|`.
 */
const QUEUE_FORMAT = '%i|%F|%K|%T|%j|%N|%r';

const STATE = /^[A-Z][A-Z_]*$/;
/** Returns the whole number that a text of digits stands for; null for any other text. */
const parseWhole = (text: string): number | null => (/^\d+$/.test(text) ? Number(text) : null);

export function parseQueue(text: string): readonly Row[] {
  return text.split('\n').flatMap((line): Row[] => {
    const [id = '', , index = '', state = '', name = '', nodes = '', ...reason] = line
      .trim()
      .split('|');
    if (!/^\d+(_\d+)?$/.test(id) || !STATE.test(state) || name === '') return [];
    return [{ id, name, index: parseWhole(index) ?? 0, state, reason: reason.join('|'), nodes }];
  });
}

const ACCOUNT_FORMAT = 'JobID,JobName,State,NodeList,ExitCode';

/**
 * Returns the jobs that sacct lists in ACCOUNT_FORMAT. Leaves out lines of any other form. Of the
 * several records of a requeued job, the last counts.
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

/**
 * Returns the id in what `sbatch --parsable` prints, `ID` or `ID;CLUSTER`; null if it has neither.
 */
export const parseSubmission = (text: string): string | null =>
  /^(\d+)(?:;\S+)?$/m.exec(text.trim())?.[1] ?? null;

/** Returns MaxArraySize in what `scontrol show config` prints; null if it is missing or 0. */
export function parseArraySize(text: string): number | null {
  const size = parseWhole(/^MaxArraySize\s*=\s*(\d+)\s*$/m.exec(text)?.[1] ?? '');
  return size === null || size < 1 ? null : size;
}

/**
 * What a job's state means for us. `cut`: Slurm ended the job before it was done, and another job
 * may go on from what it saved. `memory`: it ran out of memory.
 */
export type Phase = 'active' | 'ended' | 'cut' | 'cancelled' | 'memory';

/**
 * The phase for each state of a job that is over. Any other state, even an unknown one, is
 * `active`.
 */
const OVER: Readonly<Record<string, Phase>> = {
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

/** Returns what a job's state means for us; `active` for a state that OVER does not list. */
export const phaseOf = (state: string): Phase =>
  (Object.hasOwn(OVER, state) ? OVER[state] : undefined) ?? 'active';

/** Returns a pattern that matches any of these words, in upper or lower case. */
export const anyOf = (words: readonly string[]): RegExp => new RegExp(words.join('|'), 'i');

/** What sbatch prints if a temporary limit on the number of jobs leaves no room. */
const FULL = /MaxSubmitJob|MaxSubmitPU|MaxJobCount|temporarily unable to accept job/i;
/** What sbatch prints if the controller was not reached or did not answer. */
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

/**
 * Returns what sbatch's stderr says of a failed submission; `refused` for a text that is not known.
 */
export const classifyRefusal = (stderr: string): 'full' | 'uncertain' | 'refused' =>
  FULL.test(stderr) ? 'full' : UNCERTAIN.test(stderr) ? 'uncertain' : 'refused';

/** Returns a node's name if it has the form that `--exclude` takes, else null. */
export const nodeName = (text: string): string | null =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/.test(text.trim()) ? text.trim() : null;

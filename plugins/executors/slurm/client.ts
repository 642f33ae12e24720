/** Calls Slurm's commands, without a shell and each with a time-out. */
import { spawn } from 'node:child_process';
import { UserFault } from '../../../src/api.ts';
import type { Row } from './parse.ts';
import {
  ACCOUNT_FORMAT,
  parseAccounts,
  parseArraySize,
  parseQueue,
  parseSubmission,
  QUEUE_FORMAT,
  refusalOf,
} from './parse.ts';

type Env = Readonly<Record<string, string | undefined>>;

/** How a call ended. `late` means that it was ended by its time-out. */
export interface Called {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly late: boolean;
  /** The error of starting it, such as `ENOENT`. */
  readonly error: string | null;
}

export type Submitted =
  | { readonly type: 'submitted'; readonly id: string }
  /**
   * A limit on the number of submitted jobs leaves no room for it at present. `waited` means that
   * sbatch itself has tried again until its time-out.
   */
  | { readonly type: 'full'; readonly words: string; readonly waited: boolean }
  /** It may have been submitted: its name in the queue tells. */
  | { readonly type: 'uncertain'; readonly words: string }
  | { readonly type: 'refused'; readonly words: string };

export interface SlurmClient {
  submit(args: readonly string[]): Promise<Submitted>;
  /** Returns every job of this user that Slurm remembers, or null if the query failed. */
  queue(): Promise<readonly Row[] | null>;
  /**
   * Returns the records of jobs by name, or null if there is no accounting or the query failed.
   * @param since the earliest submission. Without it, sacct leaves out what was before midnight.
   */
  accounts(names: readonly string[], since: Date): Promise<readonly Row[] | null>;
  /** Cancels jobs of this name: all, or those of these ids that also have the name. */
  cancel(name: string, ids?: readonly string[]): Promise<boolean>;
  /** Returns the site's MaxArraySize, or null if the query failed. */
  arraySize(): Promise<number | null>;
}

/** How much of a command's output is read: enough for more than 100,000 jobs. */
const OUTPUT_LIMIT = 64 * 2 ** 20;

/**
 * Returns the environment of Slurm's commands. It leaves out the variables of the job that the
 * coordinator may itself be, which sbatch would take for options.
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

function call(
  program: string,
  args: readonly string[],
  env: Record<string, string>,
  seconds: number,
): Promise<Called> {
  return new Promise((resolve) => {
    const child = spawn(program, [...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // it leads a group, so that what it starts ends with it
    });
    let stdout = '',
      stderr = '',
      late = false;
    const end = (code: number | null, error: string | null): void => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr, late, error });
    };
    const stop = (): void => {
      late = true;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // it has ended
      }
      for (const stream of [child.stdout, child.stderr]) stream.destroy();
    };
    const timer = setTimeout(stop, seconds * 1000);
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

export interface ClientOptions {
  readonly env: Env;
  readonly callSeconds: number;
  readonly log: (message: string) => void;
}

export function createClient({ env, callSeconds, log }: ClientOptions): SlurmClient {
  const clean = slurmEnvironment(env);
  const run = async (program: string, args: readonly string[]): Promise<Called> => {
    const called = await call(program, args, clean, callSeconds);
    if (called.code !== 0) log(`${program}: ${wordsOf(called, callSeconds)}`);
    return called;
  };
  return {
    async submit(args) {
      const called = await run('sbatch', args);
      const words = wordsOf(called, callSeconds);
      const id = called.code === 0 ? parseSubmission(called.stdout) : null;
      if (id !== null) return { type: 'submitted', id };
      if (called.error !== null) return { type: 'refused', words };
      const refusal = refusalOf(called.stderr);
      if (refusal === 'full') return { type: 'full', words: saidBy(called), waited: called.late };
      if (called.late || called.code === 0) return { type: 'uncertain', words };
      return { type: refusal, words };
    },
    async queue() {
      const called = await run('squeue', [
        '--me',
        '--noheader',
        '--array',
        '--states=all',
        `--format=${QUEUE_FORMAT}`,
      ]);
      return called.code === 0 && isSensible(called.stdout) ? parseQueue(called.stdout) : null;
    },
    async accounts(names, since) {
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
    async cancel(name, ids = []) {
      return (await run('scancel', ['--me', `--name=${name}`, ...ids])).code === 0;
    },
    async arraySize() {
      return parseArraySize((await run('scontrol', ['show', 'config'])).stdout);
    },
  };
}

/** Whether every line has the requested form. Malformed output counts as a failed query. */
const isSensible = (text: string): boolean =>
  text.split('\n').every((line) => line.trim() === '' || line.split('|').length >= 7);

/** Local time without a zone, as sacct reads it. */
function slurmTime(time: Date): string {
  const local = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

function wordsOf(called: Called, seconds: number): string {
  const { late, error } = called;
  if (error !== null) return error === 'ENOENT' ? 'it is not on the PATH' : error;
  return late ? `no answer within ${seconds} s` : saidBy(called);
}

function saidBy({ code, stderr, stdout }: Called): string {
  const said = (stderr.trim() === '' ? stdout : stderr).trim().replaceAll(/\s*\n\s*/g, '; ');
  return said === '' ? `exit code ${String(code)}` : said.replace(/^(sbatch: )?(error: )?/, '');
}

/** @throws UserFault if Slurm's commands are not on this machine */
export async function checkCommands(env: Env): Promise<void> {
  const called = await call('sbatch', ['--version'], slurmEnvironment(env), 30);
  if (called.error === 'ENOENT')
    throw new UserFault(
      'there is no sbatch on this machine',
      'start the run on a login node of the cluster, or leave out --executor slurm',
    );
}

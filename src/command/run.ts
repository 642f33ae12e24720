/** Runs a program of other people's: an argument list without a shell, a folder of its own, an environment that is listed, limits on time and output. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserFault } from '../api.ts';

export interface CommandLimits {
  readonly seconds: number;
  /** Of stdout and stderr together. */
  readonly outputBytes: number;
}

export interface Command {
  /** The program and its arguments. */
  readonly argv: readonly string[];
  readonly cwd: string;
  /** All that it sees beside what ALWAYS_PASSED names. */
  readonly env: { readonly [name: string]: string };
  /** More variables of this process that it may see. */
  readonly pass: readonly string[];
  readonly limits: CommandLimits;
  readonly log: (line: string) => void;
  /** Aborted: the program and all that it forked is ended. */
  readonly signal?: AbortSignal;
}

/** Without these few programs start at all; they are no part of a key. By the last a run knows what its worker left, however the worker ended. */
const ALWAYS_PASSED = [
  'PATH',
  'HOME',
  'LANG',
  'LC_ALL',
  'TMPDIR',
  'SYSTEMROOT',
  'CUDA_VISIBLE_DEVICES',
  'DOSIMETER_WORKER',
];
/** The command's own mark, in the environment of all that it starts: a daemon leaves its parent and its group, not that. */
const MARK = 'DOSIMETER_COMMAND';
/** Of what it printed, for the message of a failure. */
const TAIL = 2000;
const AFTER_EXIT_MS = 1000;

/**
 * Resolves when the program has ended with exit code 0, and what it left running with it: its outputs stay as they are.
 * @throws UserFault where it can't be started, fails, runs or prints past its limits; the message has the end of what it printed
 */
export async function runCommand({
  argv,
  cwd,
  env,
  pass,
  limits,
  log,
  signal: stop,
}: Command): Promise<void> {
  const [program, ...args] = argv;
  if (program === undefined)
    throw new UserFault(
      '`command` is empty',
      'write the program and its arguments: [python3, attack.py]',
    );
  const passed = Object.fromEntries(
    [...ALWAYS_PASSED, ...pass].flatMap((name) =>
      process.env[name] === undefined ? [] : [[name, process.env[name]]],
    ),
  );
  // No process group of its own: it ends with the worker's, whatever happens to this process.
  const mark = randomUUID();
  const child = spawn(program, args, {
    cwd,
    env: { ...passed, ...env, [MARK]: mark },
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: false,
  });
  const name = JSON.stringify(argv.join(' '));
  let printed = 0,
    tail = '',
    fault: UserFault | null = null;
  const end = (message: string, hint: string): void => {
    if (fault !== null) return;
    fault = new UserFault(message, hint);
    killTree(child.pid);
  };
  const listen = (stream: Readable): void => {
    let rest = '';
    stream
      .setEncoding('utf8')
      .on('data', (text: string) => {
        printed += Buffer.byteLength(text);
        if (fault !== null) return;
        if (printed > limits.outputBytes) {
          end(
            `the command ${name} printed more than ${limits.outputBytes} bytes and was ended`,
            'write results to the declared file, not to the terminal; `output_mb` raises the limit',
          );
          return;
        }
        tail = (tail + text).slice(-TAIL);
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (line.trim() !== '') log(line);
      })
      .on('end', () => {
        if (rest !== '' && fault === null) log(rest);
      });
  };
  listen(child.stdout);
  listen(child.stderr);
  const timer = setTimeout(
    () =>
      end(
        `the command ${name} ran for more than ${limits.seconds} s and was ended`,
        '`timeout_seconds` raises the limit',
      ),
    limits.seconds * 1000,
  );
  const abort = (): void =>
    end(
      `the command ${name} was stopped`,
      'the run was interrupted, or it took longer than --timeout',
    );
  if (stop?.aborted) abort();
  else stop?.addEventListener('abort', abort, { once: true });
  let left: NodeJS.Timeout | undefined;
  try {
    const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>(
      (resolve, reject) => {
        child.on('error', (error: NodeJS.ErrnoException) =>
          reject(
            error.code === 'ENOENT'
              ? new UserFault(
                  `the command ${name} can't be started: there is no program "${program}"`,
                  'name it by its path, or install it',
                )
              : new UserFault(`the command ${name} can't be started: ${error.message}`),
          ),
        );
        child.on('close', (exit, by) => resolve({ code: exit, signal: by }));
        // 'close' may wait for whatever the program left running with its pipes.
        child.on('exit', (exit, by) => {
          left = setTimeout(() => resolve({ code: exit, signal: by }), AFTER_EXIT_MS);
        });
      },
    );
    if (fault !== null) throw fault as UserFault;
    if (code !== 0)
      throw new UserFault(
        `the command ${name} ended ${signal === null ? `with exit code ${String(code)}` : `by ${signal}`}${tail.trim() === '' ? ', without a word' : `: ${tail.trim().split('\n').slice(-5).join('\n')}`}`,
      );
  } finally {
    clearTimeout(timer);
    clearTimeout(left);
    stop?.removeEventListener('abort', abort);
    child.stdout.destroy();
    child.stderr.destroy();
    const count = await endMarked(mark);
    if (count > 0)
      log(
        `it left ${count === 1 ? 'a process, which was' : `${count} processes, which were`} ended`,
      );
  }
}

/** Ends what bears the mark; resolves when it writes no more. Linux only: elsewhere what is in the worker's group ends with that. @returns how many there were */
async function endMarked(mark: string): Promise<number> {
  const all = new Set<number>(),
    sought = `\0${MARK}=${mark}\0`;
  for (;;) {
    // again, since what is about to end may still start another
    const found = processes().filter(
      (pid) => `\0${procFile(pid, 'environ')}`.includes(sought) && !isZombie(pid),
    );
    if (found.length === 0) return all.size;
    for (const pid of found) {
      all.add(pid);
      end(pid);
    }
    await sleep(1);
  }
}

/** The process and all that it forked, where /proc tells who they are; elsewhere the process alone, and the rest ends with the worker. */
function killTree(root: number | undefined): void {
  if (root === undefined) return;
  const children = new Map<number, number[]>();
  for (const pid of processes()) {
    const parent = Number(statOf(pid)[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const doomed = [root];
  for (const pid of doomed) doomed.push(...(children.get(pid) ?? []));
  for (const pid of doomed) end(pid);
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // Gone meanwhile, or another user's: nothing more can be done.
    if (!['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/** Process ids; none where there is no /proc. */
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

/** State and parent: `pid (name) state ppid …`, where the name may hold spaces and brackets. */
const statOf = (pid: number): string[] =>
  (procFile(pid, 'stat').split(') ').at(-1) ?? '').split(' ');

const isZombie = (pid: number): boolean => ['Z', 'X'].includes(statOf(pid)[0] ?? '');

function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return ''; // it ended meanwhile, or is another user's
  }
}

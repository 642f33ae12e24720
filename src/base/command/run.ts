/**
 * Runs an outside program without a shell, in a separate folder, with limits on time and output.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { UserFault } from '../fault.ts';
import type { Json, JsonSchema } from '../json.ts';
import { endMarked, endTree, leftText, waitForEnd, WORKER_MARK } from '../processes.ts';

export interface Command {
  readonly argv: readonly string[];
  readonly cwd: string;
  /** Environment variables that the program gets besides those in `pass` and ALWAYS_PASSED. */
  readonly env: { readonly [name: string]: string };
  /** Names of environment variables of this process that are passed on to the program. */
  readonly pass: readonly string[];
  readonly limits: {
    readonly seconds: number;
    /** For stdout and stderr together. */
    readonly outputBytes: number;
  };
  readonly log: (line: string) => void;
  /** Once aborted, the program and all processes that it forked are ended. */
  readonly signal?: AbortSignal;
}

/**
 * The environment variables that every program gets, because few start without them. Their values
 * are not part of a key.
 */
const ALWAYS_PASSED = [
  'PATH',
  'HOME',
  'LANG',
  'LC_ALL',
  'TMPDIR',
  'SYSTEMROOT',
  'CUDA_VISIBLE_DEVICES',
  WORKER_MARK,
];
/** The environment variable with a command's mark, which every process that it starts inherits. */
const MARK = 'DOSIMETER_COMMAND';
/** The most characters of the program's output that the message of a failure quotes. */
const TAIL = 2000;
const AFTER_EXIT_MS = 1000;

type Child = ChildProcessByStdio<null, Readable, Readable>;

/**
 * Runs a program. Resolves when it has ended with exit code 0 and everything that it left running
 * has been ended. Throws a UserFault if the program can't be started, exceeds a limit, is stopped
 * by `signal`, or fails; the fault of a failure quotes the end of what it printed.
 */
export async function runCommand(command: Command): Promise<void> {
  const { argv, limits, log, signal } = command;
  const mark = randomUUID();
  const child = spawnProgram(command, mark);
  const name = JSON.stringify(argv.join(' '));
  /** Why `end` ended the program; null until it does. */
  const ended: { by: UserFault | null } = { by: null };
  /** Ends the program and its descendants, with this fault as the reason; once only. */
  const end = (message: string, hint: string): void => {
    if (ended.by !== null) return;
    ended.by = new UserFault(message, hint);
    if (child.pid !== undefined) endTree(child.pid);
  };
  const output = logOutput(
    child,
    command,
    () => ended.by !== null,
    () =>
      end(
        `the command ${name} printed more than ${limits.outputBytes} bytes and was ended`,
        'write results to the declared file, not to the terminal; `output_mb` raises the limit',
      ),
  );
  const timer = setTimeout(
    () =>
      end(
        `the command ${name} ran for more than ${limits.seconds} s and was ended`,
        '`timeout_seconds` raises the limit',
      ),
    limits.seconds * 1000,
  );
  /** Ends the program because `signal` is aborted. */
  const abort = (): void =>
    end(
      `the command ${name} was stopped`,
      'the run was interrupted, or it took longer than --timeout',
    );
  if (signal?.aborted) abort();
  else signal?.addEventListener('abort', abort, { once: true });
  try {
    const exit = await waitForExit(child, name, argv[0] ?? '');
    if (ended.by !== null) throw ended.by;
    if (exit.code !== 0) throw exitFault(name, exit, output.tail);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    child.stdout.destroy();
    child.stderr.destroy();
    const left = endMarked(MARK, new Set([mark]));
    await waitForEnd(left);
    if (left.length > 0) log(leftText(left.length));
  }
}

/** Starts the program with the environment that it may see. @throws UserFault if `argv` is empty */
function spawnProgram({ argv, cwd, env, pass }: Command, mark: string): Child {
  const [program, ...args] = argv;
  if (program === undefined)
    throw new UserFault(
      '`command` is empty',
      'write the program and its arguments: [python3, attack.py]',
    );
  const passed = Object.fromEntries(
    [...ALWAYS_PASSED, ...pass].map((variable) => [variable, process.env[variable]]),
  );
  // The program stays in the worker's process group and ends with it, whatever happens here.
  return spawn(program, args, {
    cwd,
    env: { ...passed, ...env, [MARK]: mark },
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: false,
  });
}

/**
 * Logs the lines that the program prints, except blank ones, as long as `isEnded` returns false.
 * Calls `onLimit` when it has printed more than `limits.outputBytes`. Returns an object whose
 * `tail` always holds the last TAIL characters of both streams.
 */
function logOutput(
  child: Child,
  { limits, log }: Command,
  isEnded: () => boolean,
  onLimit: () => void,
): { tail: string } {
  const output = { tail: '' };
  let printed = 0;
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream
      .setEncoding('utf8')
      .on('data', (text: string) => {
        printed += Buffer.byteLength(text);
        if (isEnded()) return;
        if (printed > limits.outputBytes) {
          onLimit();
          return;
        }
        output.tail = (output.tail + text).slice(-TAIL);
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (line.trim() !== '') log(line);
      })
      .on('end', () => {
        if (rest !== '' && !isEnded()) log(rest);
      });
  }
  return output;
}

interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/**
 * Resolves once the program has exited and its output has come, at most AFTER_EXIT_MS later.
 * @param name the whole command, for messages
 * @param program its first word
 * @throws UserFault if the program can't be started
 */
async function waitForExit(child: Child, name: string, program: string): Promise<Exit> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Exit>((resolve, reject) => {
      child.on('error', (error: NodeJS.ErrnoException) => {
        const notStarted = `the command ${name} can't be started: `;
        reject(
          error.code === 'ENOENT'
            ? new UserFault(
                `${notStarted}there is no program "${program}"`,
                'name it by its path, or install it',
              )
            : new UserFault(`${notStarted}${error.message}`),
        );
      });
      child.on('close', (code, signal) => resolve({ code, signal }));
      // The event 'close' does not come while a process that the program left running has the pipes
      // open, so the wait for it ends AFTER_EXIT_MS after 'exit'.
      child.on('exit', (code, signal) => {
        timer = setTimeout(() => resolve({ code, signal }), AFTER_EXIT_MS);
      });
    });
  } finally {
    clearTimeout(timer);
  }
}

function exitFault(name: string, { code, signal }: Exit, tail: string): UserFault {
  const how = signal === null ? `with exit code ${String(code)}` : `by ${signal}`;
  const lines = tail.trim().split('\n').slice(-5).join('\n');
  return new UserFault(
    `the command ${name} ended ${how}${lines === '' ? ', and printed nothing' : `: ${lines}`}`,
  );
}

export interface ProgramParams {
  readonly command: readonly string[];
  readonly options: { readonly [name: string]: Json };
  readonly env: { readonly [name: string]: string };
  readonly pass_env: readonly string[];
  readonly timeout_seconds: number;
  readonly output_mb: number;
}

/**
 * Returns the JSON Schema properties `command` and `files`.
 * @param folder describes the program's folder, in sentences that follow "no shell reads them."
 * @param example a file that the program may need, such as `attack.py`
 */
export const programProperties = (folder: string, example: string): JsonSchema => ({
  command: {
    type: 'array',
    items: { type: 'string' },
    minItems: 1,
    description: `The program and its arguments; no shell reads them. ${folder}`,
  },
  files: {
    type: 'array',
    items: { type: 'string' },
    format: 'source',
    default: [],
    description:
      `What the program is made of and reads, such as file:${example}. Each file lies in its ` +
      'folder under its own name. Their content is part of the key.',
  },
});

/** The JSON Schema properties of all fields of `ProgramParams` but `command`. */
export const limitProperties: JsonSchema = {
  options: { type: 'object', default: {}, description: 'Passed on in task.json unchanged.' },
  env: {
    type: 'object',
    additionalProperties: { type: 'string' },
    default: {},
    description: 'Environment variables with their values.',
  },
  pass_env: {
    type: 'array',
    items: { type: 'string' },
    default: [],
    description:
      'Names of further environment variables that it may see, beside PATH, HOME, LANG, LC_ALL ' +
      'and TMPDIR. Their values are not part of the key: they must not change the result.',
  },
  timeout_seconds: {
    type: 'number',
    exclusiveMinimum: 0,
    default: 600,
    description: 'It is ended after this time.',
  },
  output_mb: {
    type: 'number',
    exclusiveMinimum: 0,
    default: 64,
    description: 'Limit on what it prints, and on the size of what it writes.',
  },
};

/** A user's folder: a spec, plugin files beside it, and the real command line run in it. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { present } from './present.ts';
import { warmCommand } from './warm.ts';

export { writeToys } from './toys.ts';

const launcher = fileURLToPath(new URL('../../src/setup/launcher.mjs', import.meta.url));

export interface Said {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly process: ChildProcess;
  readonly ended: Promise<Said>;
  /** Resolves when stderr has this text; rejects if the command ends first. */
  saw(text: string): Promise<void>;
}

/** A stage as `plan --json` prints it. */
export interface StageJson {
  readonly id: string;
  readonly kind: string;
  readonly cell: { readonly [path: string]: unknown };
  readonly seed: number | null;
  readonly key: string | null;
  readonly state: string;
  readonly reason: string;
  readonly outputs: string | null;
}

/** A number as `results --json` prints it. */
export interface ResultJson {
  readonly cell: { readonly [path: string]: unknown };
  readonly also?: readonly { readonly [path: string]: unknown }[];
  readonly seed: number;
  readonly stage: string;
  readonly metric: string;
  readonly value: number;
  readonly scorer?: { readonly [path: string]: unknown };
  readonly evidence: {
    readonly counts: boolean;
    readonly warnings: readonly string[];
    readonly fewer_rows?: { readonly rows: number; readonly of: number };
  };
}

export interface Project {
  readonly dir: string;
  write(name: string, text: string): void;
  read(name: string): string;
  exists(name: string): boolean;
  /** The lines of a file that are not empty; none if there is no file. */
  lines(name: string): string[];
  /** Starts the command line in a process of its own. */
  start(...args: readonly string[]): Started;
  /** Starts a command with more in the environment, or under another command (`setpriv …`). */
  startWith(
    how: { readonly env?: Readonly<Record<string, string>>; readonly under?: readonly string[] },
    ...args: readonly string[]
  ): Started;
  /** Performs a command to its end, in a process that stays for the next one unless it must not. */
  dosimeter(...args: readonly string[]): Promise<Said>;
  /** Performs a command with more in the environment. */
  dosimeterWith(env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Said>;
  /** Runs a command that must end with exit code 0. */
  succeeds(...args: readonly string[]): Promise<Said>;
  json<T>(...args: readonly string[]): Promise<T>;
  /** The stages of `plan SPEC --json`. */
  stages(...args: readonly string[]): Promise<readonly StageJson[]>;
  /** The rows of `results SPEC --json`. */
  results(...args: readonly string[]): Promise<readonly ResultJson[]>;
  /** Returns the keys of the entries in the store. */
  entries(): string[];
}

/**
 * @param options `warm`: whether `dosimeter` may be performed in a process that stays. A test in
 *   which it matters that the process has ended needs false.
 */
export function createProject({ warm = true }: { readonly warm?: boolean } = {}): Project {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  const file = (name: string): string => path.join(dir, name);
  const environment = (): NodeJS.ProcessEnv => ({
    ...process.env,
    NO_COLOR: '1',
    DOSIMETER_CACHE: file('.cache'),
  });
  const project: Project = {
    dir,
    write: (name, text) => {
      mkdirSync(path.dirname(file(name)), { recursive: true });
      writeFileSync(file(name), text);
    },
    read: (name) => readFileSync(file(name), 'utf8'),
    exists: (name) => existsSync(file(name)),
    lines: (name) =>
      existsSync(file(name))
        ? readFileSync(file(name), 'utf8')
            .split('\n')
            .filter((line) => line !== '')
        : [],
    start: (...args) => project.startWith({}, ...args),
    startWith({ env = {}, under = [] }, ...args) {
      const [command = process.execPath, ...rest] = [...under, process.execPath, launcher, ...args];
      return watched(
        spawn(command, rest, {
          cwd: dir,
          env: { ...environment(), ...env },
          stdio: ['ignore', 'pipe', 'pipe'],
        }),
      );
    },
    dosimeter: (...args) => project.dosimeterWith({}, ...args),
    async dosimeterWith(env, ...args) {
      if (!warm) return project.startWith({ env }, ...args).ended;
      const said = await warmCommand({ dir, env: { ...environment(), ...env }, args });
      return { ...said, signal: null };
    },
    async succeeds(...args) {
      const said = await project.dosimeter(...args);
      if (said.code !== 0)
        throw new Error(`dosimeter ${args.join(' ')}: ${String(said.code)}\n${said.stderr}`);
      return said;
    },
    async json<T>(...args: readonly string[]) {
      const said = await project.dosimeter(...args);
      try {
        return JSON.parse(said.stdout) as T;
      } catch {
        throw new Error(
          `no JSON (exit code ${String(said.code)}):\n${said.stdout}\n${said.stderr}`,
        );
      }
    },
    async stages(...args) {
      const planned = await project.json<{ stages: StageJson[] }>('plan', ...args, '--json');
      return planned.stages;
    },
    results: (...args) => project.json('results', ...args, '--json'),
    entries() {
      const store = file('.dosimeter/store');
      return !existsSync(store)
        ? []
        : readdirSync(store)
            .filter((name) => /^[0-9a-f]{2}$/.test(name))
            .flatMap((shard) => readdirSync(path.join(store, shard)));
    },
  };
  return project;
}

interface Waiting {
  readonly text: string;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Gathers what a process prints. */
function watched(child: ChildProcess): Started {
  let stdout = '';
  let stderr = '';
  let over = false;
  const waiting: Waiting[] = [];
  const check = (): void => {
    for (const one of waiting.splice(0)) {
      if (stderr.includes(one.text)) one.resolve();
      else if (over) one.reject(new Error(`ended without "${one.text}":\n${stderr}`));
      else waiting.push(one);
    }
  };
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    check();
  });
  const ended = new Promise<Said>((resolve) => {
    child.on('close', (code, signal) => {
      over = true;
      check();
      resolve({ code, signal, stdout, stderr });
    });
  });
  return {
    process: child,
    ended,
    saw: (text) =>
      new Promise<void>((resolve, reject) => {
        waiting.push({ text, resolve, reject });
        check();
      }),
  };
}

/** The last line of a text, such as the path of a report. */
export const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1) ?? '';

/** The places, `FILE:LINE:COLUMN`, that diagnostics name, sorted. */
export const placesIn = (stderr: string): string[] =>
  [...stderr.matchAll(/(?<= --> ).*/g)].map(([place]) => place).sort();

/** The text of a file that a stage has in the store. */
export const outputText = ({ outputs }: Pick<StageJson, 'outputs'>, file: string): string =>
  readFileSync(path.join(present(outputs), file), 'utf8');

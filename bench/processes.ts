/**
 * Runs each side of a bench in a separate process, which reads a JSON job from standard input and
 * writes a JSON line to standard output.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

export const benchDir = dirname(fileURLToPath(import.meta.url));
const cache = join(benchDir, '..', '.cache');

/**
 * Returns a Python that has the peers of bench/requirements.txt, installed once under .cache/.
 * DOSIMETER_BENCH_PYTHON names another one.
 */
export const peerPython = (): string =>
  process.env['DOSIMETER_BENCH_PYTHON'] ??
  join(
    installOnce('bench-venv', (venv) => venvOf(venv, 'requirements.txt')),
    'bin',
    'python',
  );

/** Returns the steps that install one of bench/requirements*.txt into a new Python environment. */
export const venvOf = (venv: string, requirements: string): readonly Step[] => [
  ['python3', ['-m', 'venv', venv]],
  [join(venv, 'bin', 'python'), ['-m', 'pip', 'install', '-q', '-r', join(benchDir, requirements)]],
];

export type Step = readonly [command: string, args: readonly string[]];

/** Returns a folder under .cache/, made by `steps` the first time. */
export function installOnce(name: string, steps: (dir: string) => readonly Step[]): string {
  const dir = join(cache, name);
  if (existsSync(join(dir, 'ready'))) return dir;
  mkdirSync(dir, { recursive: true });
  process.stderr.write(`installing the peers into .cache/${name} (once) …\n`);
  for (const [command, args] of steps(dir)) {
    const { status } = spawnSync(command, [...args], {
      cwd: dir,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
  }
  writeFileSync(join(dir, 'ready'), '');
  return dir;
}

/**
 * Runs `command` with `job` on its standard input; resolves to the last line that it prints,
 * parsed.
 */
export function measure<T>(
  command: string,
  args: readonly string[],
  job: unknown,
  env: Readonly<Record<string, string>> = {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) => {
      const last = output.trim().split('\n').at(-1) ?? '';
      if (code !== 0) reject(new Error(`${command} ${args.join(' ')} ended with ${code}`));
      else resolve(JSON.parse(last) as T);
    });
    child.stdin.end(JSON.stringify(job));
  });
}

/** Runs one of bench/own/*.ts as `measure` does, with the loader that the benches run under. */
export const measureOwn = <T>(
  script: string,
  job: unknown,
  env: Readonly<Record<string, string>>,
): Promise<T> => measure<T>(process.execPath, ownScript(script), job, env);

export const ownScript = (script: string): readonly string[] => [
  '--import',
  'tsx',
  join(benchDir, 'own', script),
];

const built = new Map<string, Promise<string>>();

/**
 * Builds one of bench/own/*.ts as `dosimeter` is built, so that no loader takes memory and time.
 * Returns the path of the bundle, which is made once: a process may be reading it already.
 */
export function buildOwn(script: string): Promise<string> {
  const known = built.get(script) ?? bundle(script);
  built.set(script, known);
  return known;
}

async function bundle(script: string): Promise<string> {
  const outfile = join(cache, 'bench', script.replace(/\.ts$/, '.mjs'));
  await build({
    entryPoints: [join(benchDir, 'own', script)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning',
  });
  return outfile;
}

/** A process that has warmed up and works only in its turns. */
export interface Player<Turn, End> {
  /** Runs one turn; resolves when it ends. */
  turn(): Promise<Turn>;
  /** Resolves, once the process has ended, to the line that it printed after its last turn. */
  readonly end: Promise<End>;
}

/**
 * Starts `command` with `job` on the first line of its standard input, and waits until it prints
 * its first line, which says that it is ready. For each further line that it is sent, the process
 * takes a turn and prints a line. After its last turn it prints the end.
 * @param signal ends the process
 */
export async function openPlayer<Turn, End>(
  command: string,
  args: readonly string[],
  job: unknown,
  env: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<Player<Turn, End>> {
  const child = spawn(command, [...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
    ...(signal === undefined ? {} : { signal }),
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${command} ${args.join(' ')} ended with ${code}`));
    });
  });
  ended.catch(() => undefined); // reported to the reader of the next line
  const next = async <T>(): Promise<T> => {
    const { value, done } = (await lines.next()) as IteratorResult<string, undefined>;
    if (done !== true) return JSON.parse(value) as T;
    await ended;
    throw new Error(`${command} ${args.join(' ')} ended before its last turn`);
  };
  child.stdin.write(`${JSON.stringify(job)}\n`);
  await next();
  let over: () => void;
  const end = new Promise<void>((resolve) => {
    over = resolve;
  })
    .then(() => next<End>())
    .then(async (result) => {
      await ended;
      return result;
    });
  return {
    turn: async () => {
      child.stdin.write('turn\n');
      const taken = await next<Turn & { readonly last: boolean }>();
      if (taken.last) {
        child.stdin.end();
        over();
      }
      return taken;
    },
    end,
  };
}

/** Something to open, which is given up where it is `bounded` and takes too long. */
export interface Opening<T> {
  readonly name: string;
  readonly bounded?: boolean;
  readonly open: (signal?: AbortSignal) => Promise<T>;
}

/**
 * Opens all at the same time. Those that are bounded have `times` as long as the slowest of the
 * others, and at least `least` seconds; one that takes longer is ended, and null in its place.
 */
export async function openInTime<T>(
  openings: readonly Opening<T>[],
  { times, least }: { readonly times: number; readonly least: number },
): Promise<(T | null)[]> {
  const began = performance.now(),
    late = new AbortController();
  const opened = openings.map(({ bounded, open }) => open(bounded ? late.signal : undefined));
  const all = Promise.allSettled(opened);
  await Promise.all(opened.filter((_, i) => openings[i]?.bounded !== true)).catch(
    (error: unknown) => {
      late.abort();
      throw error;
    },
  );
  const took = performance.now() - began;
  const timer = setTimeout(() => late.abort(), Math.max(least * 1000, times * took) - took);
  const results = await all;
  clearTimeout(timer);
  return results.map((result, i) => {
    if (result.status === 'fulfilled') return result.value;
    if (openings[i]?.bounded === true && late.signal.aborted) return null;
    throw result.reason;
  });
}

/** Runs each side of a bench in a process of its own: a JSON job on standard input, a JSON line on standard output. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const benchDir = dirname(fileURLToPath(import.meta.url));
const cache = join(benchDir, '..', '.cache');

/** Python with the peers of bench/requirements.txt, made once under .cache/. DOSIMETER_BENCH_PYTHON names another one. */
export const peerPython = (): string => process.env['DOSIMETER_BENCH_PYTHON'] ?? join(installOnce('bench-venv', (venv) => venvOf(venv, 'requirements.txt')), 'bin', 'python');

/** The steps that make a Python environment with what one of bench/requirements*.txt asks for. */
export const venvOf = (venv: string, requirements: string): readonly Step[] => [
  ['python3', ['-m', 'venv', venv]],
  [join(venv, 'bin', 'python'), ['-m', 'pip', 'install', '-q', '-r', join(benchDir, requirements)]],
];

export type Step = readonly [command: string, args: readonly string[]];

/** A folder under .cache/, made by `steps` the first time. */
export function installOnce(name: string, steps: (dir: string) => readonly Step[]): string {
  const dir = join(cache, name);
  if (existsSync(join(dir, 'ready'))) return dir;
  mkdirSync(dir, { recursive: true });
  process.stderr.write(`installing the peers into .cache/${name} (once) …\n`);
  for (const [command, args] of steps(dir)) {
    const { status } = spawnSync(command, [...args], { cwd: dir, stdio: ['ignore', 'inherit', 'inherit'] });
    if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
  }
  writeFileSync(join(dir, 'ready'), '');
  return dir;
}

/** Runs `command` with `job` on its standard input; resolves to the last line that it prints, parsed. */
export function measure<T>(command: string, args: readonly string[], job: unknown, env: Readonly<Record<string, string>> = {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => { output += chunk; });
    child.on('error', reject);
    child.on('close', (code) => {
      const last = output.trim().split('\n').at(-1) ?? '';
      if (code !== 0) reject(new Error(`${command} ${args.join(' ')} ended with ${code}`));
      else resolve(JSON.parse(last) as T);
    });
    child.stdin.end(JSON.stringify(job));
  });
}

/** One of bench/own/*.ts, under the same loader as the benches themselves. */
export const measureOwn = <T>(script: string, job: unknown, env: Readonly<Record<string, string>>): Promise<T> =>
  measure<T>(process.execPath, ['--import', 'tsx', join(benchDir, 'own', script)], job, env);

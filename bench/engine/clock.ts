/** Times whole commands, including the start of the process. */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * The environment of commands. Node 20 reads the certificates of NODE_EXTRA_CA_CERTS before it does
 * anything, which takes longer than the rest of its start; nothing here needs the network.
 */
function environmentOf(own: Command['env']): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env;
  return { ...inherited, ...own };
}

/** Returns the seconds from start to end. The command's output is shown only if it fails. */
export function time({ command, args, env = {} }: Command, cwd: string): number {
  const started = performance.now();
  const { status, error } = spawnSync(command, [...args], {
    cwd,
    env: environmentOf(env),
    stdio: 'ignore',
  });
  const seconds = (performance.now() - started) / 1000;
  if (error) throw error;
  if (status !== 0) {
    const again = spawnSync(command, [...args], {
      cwd,
      env: environmentOf(env),
      encoding: 'utf8',
    });
    throw new Error(
      `${command} ${args.join(' ')} in ${cwd} ended with ` +
        `${status}:\n${again.stdout}${again.stderr}`,
    );
  }
  return seconds;
}

/** Returns the peak memory of a Node command in MB, from a separate run. */
export function peakMemory({ command, args, env = {} }: Command, cwd: string): number {
  const file = join(cwd, 'peak-memory.txt');
  time(
    {
      command,
      args: ['--import', fileURLToPath(new URL('./peak-memory.mjs', import.meta.url)), ...args],
      env: { ...env, DOSIMETER_BENCH_PEAK: file },
    },
    cwd,
  );
  const megabytes = Number(readFileSync(file, 'utf8'));
  rmSync(file);
  return megabytes;
}

/** Returns a command's output, trimmed; null where it cannot be run. */
export function output(command: string, args: readonly string[], cwd?: string): string | null {
  const { status, stdout } = spawnSync(command, [...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    ...(cwd === undefined ? {} : { cwd }),
  });
  return status === 0 ? stdout.trim() : null;
}

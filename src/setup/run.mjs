import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';

/**
 * A failure that set-up explains to the user before it goes on without what could not be installed.
 */
export class SetupFault extends Error {
  /**
   * @param remedy a command that helps
   * @param [detail] the last lines of a log
   */
  constructor(message, remedy, detail) {
    super(message);
    this.remedy = remedy;
    this.detail = detail;
  }
}

/**
 * Returns the first of `commands` that ends with exit code 0 when it is run with `args`; null if
 * none does.
 */
export function firstWorking(commands, args) {
  return (
    commands.find((command) => spawnSync(command, args, { stdio: 'ignore' }).status === 0) ?? null
  );
}

/**
 * Runs a program. Resolves to its exit code: 127 if it can't start, 128 if a signal ends it.
 * @param [log] the file for its output, in place of this process's own
 */
export function run(command, args, { cwd, env, log } = {}) {
  const output = log === undefined ? 'inherit' : openSync(log, 'w');
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', output, output] });
    child.on('error', () => resolve(127));
    child.on('exit', (code) => resolve(code ?? 128));
  }).finally(() => {
    if (typeof output === 'number') closeSync(output);
  });
}

export function tail(file, lines = 15) {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
}

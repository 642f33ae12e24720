/**
 * Turns arguments into an exit code. Only this file and src/cli/ use `process` and the terminal.
 * The code of a command is imported when it is called.
 */
import { ownVersion } from './run/execute/environment.ts';

/** Runs the command line; returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  // It is not a fault if the reader closes the pipe, as in `dosimeter results | head`.
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE') process.exit(0);
    process.stderr.write(`error: the output could not be written: ${message}\n`);
    process.exit(2);
  });
  // A run does not end because its progress can't be shown; the exit code still says how it went.
  process.stderr.on('error', () => undefined);
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
    process.stdout.write(`${ownVersion()}\n`);
    return 0;
  }
  const { runCli } = await import('./cli/program.ts');
  return runCli(argv);
}

// A build is started by its `cli.js` (src/setup/dist-folder.mjs).
if (import.meta.url.endsWith('.ts'))
  void main(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
  });

/** Arguments → phases → exit code: the only place, with src/cli/, that uses process and console. Every command's code is imported when it is called. */
import { ownVersion } from './execute/environment.ts';

/** The command line; returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
    process.stdout.write(`${ownVersion()}\n`);
    return 0;
  }
  // `dosimeter results | head` closes the pipe early; that is not a fault.
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE') process.exit(0);
    process.stderr.write(`error: the output could not be written: ${message}\n`);
    process.exit(2);
  });
  // Progress that nobody can be told is no reason to end a run; the exit code still says how it went.
  process.stderr.on('error', () => undefined);
  const { runCli } = await import('./cli/program.ts');
  return runCli(argv);
}

process.exitCode = await main(process.argv.slice(2));

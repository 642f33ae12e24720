/** Adds the commands on runs, `serve` among them, and those on the store. */
import { UserFault } from '../../api.ts';
import { RUNS_KEPT } from '../../run/state-folder.ts';
import {
  type Commands,
  jsonOption,
  remoteOption,
  specCommand,
  storeOption,
  wholeNumber,
} from '../options.ts';

const LAST_PORT = 65_535;

/** Parses `--port`. Throws `UserFault` if it is no number of a port. */
function parsePort(text: string): number {
  const port = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(port >= 1 && port <= LAST_PORT))
    throw new UserFault(`--port takes a number from 1 to ${LAST_PORT}, got "${text}"`);
  return port;
}

export const runCommands: Commands = {
  status: (program, lazily) =>
    program
      .command('status [run]')
      .description('list the latest runs, or show the status of one')
      .option('--all', 'list every run')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../runs.ts')).statusCommand)),
  logs: (program, lazily) =>
    program
      .command('logs [stage]')
      .description('print the log of a stage, or list the logs')
      .option('--run <id>', 'of this run (default: the latest)')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../runs.ts')).logsCommand)),
  serve: (program, lazily) =>
    program
      .command('serve')
      .description('show the runs of this folder in a browser on this machine, live and read-only')
      .option('--port <n>', 'the port to listen on (default: any that is free)', parsePort)
      .option('--ipv6', 'listen on ::1 instead of 127.0.0.1')
      .option('--store <dir>', 'look for results here (default: the store that each run recorded)')
      .action(lazily(async () => (await import('../runs.ts')).serveCommand)),
  attach: (program, lazily) =>
    program
      .command('attach [run]')
      .description('follow a run until it ends, and go on with it if its process is gone')
      .action(lazily(async () => (await import('../detached.ts')).attachCommand)),
  cancel: (program, lazily) =>
    program
      .command('cancel [run]')
      .description('stop a run, on whatever host it is, and its jobs; finished stages are kept')
      .action(lazily(async () => (await import('../detached.ts')).cancelCommand)),
};

export const storeCommands: Commands = {
  verify: (program, lazily) =>
    program
      .command('verify')
      .description('check every stored file against its digest')
      .addOption(storeOption())
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../store.ts')).verifyCommand)),
  pin: (program, lazily) =>
    specCommand(
      program,
      'pin [spec|run]',
      'protect the results of a spec or a run from gc; without an argument: list what is pinned',
    )
      .addOption(jsonOption())
      .option('--name <name>', "pin under this name (default: the experiment's, or the run's id)")
      .action(lazily(async () => (await import('../entries.ts')).pinCommand)),
  unpin: (program, lazily) =>
    program
      .command('unpin <name>')
      .description('give up a pin')
      .addOption(storeOption())
      .action(lazily(async () => (await import('../entries.ts')).unpinCommand)),
  gc: (program, lazily) =>
    program
      .command('gc')
      .description(
        'remove leftovers and, down to a given size, ' +
          'the least recently used entries that are not pinned',
      )
      .addOption(storeOption())
      .option(
        '--remote <uri>',
        'sweep this remote instead: what none of its entries needs and, with --max-size, the ' +
          'entries that were sent longest ago',
      )
      .option(
        '--grace <time>',
        'with --remote: keep what was written within this time, such as 12h or 7d (default: 7d)',
      )
      .option(
        '--max-size <size>',
        'remove entries until the store has at most this size, such as 5GB',
      )
      .option(
        '--runs',
        'also remove the records of old runs (journal and logs), except pinned and running ones',
      )
      .option(
        '--keep-runs <n>',
        `with --runs: keep the latest n (default: ${RUNS_KEPT.latest})`,
        wholeNumber('--keep-runs', 0),
      )
      .option(
        '--keep-days <n>',
        `with --runs: keep those younger than n days (default: ${RUNS_KEPT.days})`,
        wholeNumber('--keep-days', 0),
      )
      .option('--dry-run', 'only say what would be swept')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../store.ts')).gcCommand)),
  push: (program, lazily) =>
    specCommand(
      program,
      'push <what...>',
      'send the results of a spec, of a run, or under given keys to a remote',
    )
      .addOption(remoteOption())
      .option('--force', 'send again what the remote has')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../entries.ts')).pushCommand)),
  pull: (program, lazily) =>
    specCommand(
      program,
      'pull <what...>',
      'fetch the results of a spec, of a run, or under given keys from a remote',
    )
      .addOption(remoteOption())
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../entries.ts')).pullCommand)),
};

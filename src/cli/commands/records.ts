/**
 * Adds the commands on records of runs and on the store: `status`, `attach`, `cancel`, `logs`,
 * `verify`, `pin`, `unpin`, `gc`, `push` and `pull`, and `serve`, the page that follows runs.
 */
import { Option } from 'commander';
import { UserFault } from '../../api.ts';
import { RUNS_KEPT } from '../../run/state-folder.ts';
import {
  type AddCommand,
  jsonOption,
  remoteOption,
  type SpecOptions,
  storeOption,
  wholeNumber,
  withSpecOptions,
} from '../options.ts';
import type { ServeCommandOptions } from '../serve.ts';
import type { GcOptions } from '../store.ts';

export const addStatus: AddCommand = (program, exits) =>
  program
    .command('status [run]')
    .description('list the latest runs, or show the status of one')
    .option('--all', 'list every run')
    .addOption(jsonOption())
    .action(
      exits(async (run: string | undefined, options: { json?: boolean; all?: boolean }) =>
        (await import('../runs.ts')).statusCommand(run, options),
      ),
    );

export const addAttach: AddCommand = (program, exits) =>
  program
    .command('attach [run]')
    .description('follow a run until it ends, and go on with it if its process is gone')
    .action(
      exits(async (run: string | undefined) => (await import('../detached.ts')).attachCommand(run)),
    );

export const addCancel: AddCommand = (program, exits) =>
  program
    .command('cancel [run]')
    .description('stop a run, on whatever host it is, and its jobs; finished stages are kept')
    .action(
      exits(async (run: string | undefined) => (await import('../detached.ts')).cancelCommand(run)),
    );

export const addLogs: AddCommand = (program, exits) =>
  program
    .command('logs [stage]')
    .description('print the log of a stage, or list the logs')
    .option('--run <id>', 'of this run (default: the latest)')
    .addOption(jsonOption())
    .action(
      exits(async (stage: string | undefined, options: { run?: string; json?: boolean }) =>
        (await import('../runs.ts')).logsCommand(stage, options),
      ),
    );

export const addVerify: AddCommand = (program, exits) =>
  program
    .command('verify')
    .description('check every stored file against its digest')
    .addOption(storeOption())
    .addOption(jsonOption())
    .action(
      exits(async (options: { store: string; json?: boolean }) =>
        (await import('../store.ts')).verifyCommand(options),
      ),
    );

export const addPin: AddCommand = (program, exits) =>
  withSpecOptions(
    program
      .command('pin [spec|run]')
      .description(
        'protect the results of a spec or a run from gc; without an argument: list what is pinned',
      ),
  )
    .addOption(jsonOption())
    .option('--name <name>', "pin under this name (default: the experiment's, or the run's id)")
    .action(
      exits(async (what: string | undefined, options: SpecOptions & { name?: string }) =>
        (await import('../entries.ts')).pinCommand(what, options),
      ),
    );

export const addUnpin: AddCommand = (program, exits) =>
  program
    .command('unpin <name>')
    .description('give up a pin')
    .addOption(storeOption())
    .action(
      exits(async (name: string, options: { store: string }) =>
        (await import('../entries.ts')).unpinCommand(name, options),
      ),
    );

export const addGc: AddCommand = (program, exits) =>
  program
    .command('gc')
    .description(
      'remove leftovers and, down to a given size, the least recently used entries that are not ' +
        'pinned',
    )
    .addOption(storeOption())
    .option(
      '--remote <uri>',
      'sweep this remote instead: what none of its entries needs and, with --max-size, the entries ' +
        'that were sent longest ago',
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
    .addOption(
      new Option(
        '--keep-runs <n>',
        `with --runs: keep the latest n (default: ${RUNS_KEPT.latest})`,
      ).argParser(wholeNumber('--keep-runs', 0)),
    )
    .addOption(
      new Option(
        '--keep-days <n>',
        `with --runs: keep those younger than n days (default: ${RUNS_KEPT.days})`,
      ).argParser(wholeNumber('--keep-days', 0)),
    )
    .option('--dry-run', 'only say what would be swept')
    .addOption(jsonOption())
    .action(exits(async (options: GcOptions) => (await import('../store.ts')).gcCommand(options)));

export interface RemoteOptions extends SpecOptions {
  readonly remote?: string;
}

export interface PushOptions extends RemoteOptions {
  readonly force?: boolean;
}

export const addPush: AddCommand = (program, exits) =>
  withSpecOptions(
    program
      .command('push <what...>')
      .description('send the results of a spec, of a run, or under given keys to a remote'),
  )
    .addOption(remoteOption())
    .option('--force', 'send again what the remote has')
    .addOption(jsonOption())
    .action(
      exits(async (what: readonly string[], options: PushOptions) =>
        (await import('../entries.ts')).pushCommand(what, options),
      ),
    );

export const addPull: AddCommand = (program, exits) =>
  withSpecOptions(
    program
      .command('pull <what...>')
      .description('fetch the results of a spec, of a run, or under given keys from a remote'),
  )
    .addOption(remoteOption())
    .addOption(jsonOption())
    .action(
      exits(async (what: readonly string[], options: RemoteOptions) =>
        (await import('../entries.ts')).pullCommand(what, options),
      ),
    );

const LAST_PORT = 65_535;

function portOf(text: string): number {
  const port = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(port >= 1 && port <= LAST_PORT))
    throw new UserFault(`--port takes a number from 1 to ${LAST_PORT}, got "${text}"`);
  return port;
}

export const addServe: AddCommand = (program, exits) =>
  program
    .command('serve')
    .description('show the runs of this folder in a browser on this machine, live and read-only')
    .addOption(
      new Option('--port <n>', 'the port to listen on (default: any that is free)').argParser(
        portOf,
      ),
    )
    .option('--ipv6', 'listen on ::1 instead of 127.0.0.1')
    .option('--store <dir>', 'look for results here (default: the store that each run recorded)')
    .action(
      exits(async (options: ServeCommandOptions) =>
        (await import('../serve.ts')).serveCommand(options),
      ),
    );

/** Adds `serve`, the page that follows runs. */
import { Option } from 'commander';
import { UserFault } from '../../api.ts';
import type { ServeCommandOptions } from '../serve.ts';
import type { AddCommand } from './types.ts';

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

/** Adds `push` and `pull`: the commands that copy entries to a remote and from it. */
import type { SpecOptions } from '../options.ts';
import { jsonOption, remoteOption, withSpecOptions } from '../options.ts';
import type { AddCommand } from './types.ts';

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
        (await import('../remote.ts')).pushCommand(what, options),
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
        (await import('../remote.ts')).pullCommand(what, options),
      ),
    );

/**
 * Adds `init`, `doctor`, `setup`, `plugins` and `schema`: the commands for starting out, and the
 * reference.
 */
import { Option } from 'commander';
import type { DoctorOptions, SetupOptions } from '../installation.ts';
import { type AddCommand, jsonOption, storeOption } from '../options.ts';
import type { PluginsOptions } from '../plugins.ts';

interface Json {
  readonly json?: boolean;
}

export const addInit: AddCommand = (program, exits) =>
  program
    .command('init [dir]')
    .description('write a starter folder: a spec that runs, an attack and its test')
    .addOption(jsonOption())
    .action(
      exits(async (dir: string | undefined, options: Json) =>
        (await import('../installation.ts')).initCommand(dir, options),
      ),
    );

export const addDoctor: AddCommand = (program, exits) =>
  program
    .command('doctor')
    .description('say which compute backend is used, why not a better one, and how to get it')
    .addOption(storeOption())
    .option('--backend <name>', 'ask for this one')
    .addOption(jsonOption())
    .action(
      exits(async (options: DoctorOptions) =>
        (await import('../installation.ts')).doctorCommand(options),
      ),
    );

export const addSetup: AddCommand = (program, exits) =>
  program
    .command('setup')
    .description(
      'build the TensorFlow backend, once per installation; without it everything runs slower',
    )
    .option('--tensorflow <which>', 'cpu, cuda, or the path of a TensorFlow of your own')
    .option('--torch', 'also make a Python with PyTorch, for `--backend torch`')
    .action(
      exits(async (options: SetupOptions) =>
        (await import('../installation.ts')).setupCommand(options),
      ),
    );

export const addPlugins: AddCommand = (program, exits) =>
  program
    .command('plugins [kind] [name]')
    .description(
      'list attacks, adapters, stages, models, data sets, sources and executors, or describe one; ' +
        '`plugins attack NAME` also shows what the attack makes of a row',
    )
    .addOption(
      new Option('--plugin <file>', 'take in a plugin of your own; may be repeated').argParser(
        (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
      ),
    )
    .option('--text <text>', "the row's text, for the example of an attack")
    .option('--label <class>', "the row's class")
    .option('--classes <names>', 'the classes, with commas between them (default: 0,1)')
    .option('--answer <text>', 'the answer, which makes the text a prompt')
    .addOption(
      new Option('--set <name=value>', 'a parameter of the attack; may be repeated').argParser(
        (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
      ),
    )
    .addOption(jsonOption())
    .action(
      exits(async (kind: string | undefined, name: string | undefined, options: PluginsOptions) =>
        (await import('../plugins.ts')).pluginsCommand(kind, name, options),
      ),
    );

export const addSchema: AddCommand = (program, exits) =>
  program
    .command('schema [part]')
    .description(
      'describe a part of a spec in words (data.train, train.schedule; "spec" for its sections); ' +
        'without one: print the whole JSON Schema, plugins included',
    )
    .addOption(jsonOption())
    .action(
      exits(async (part: string | undefined, options: Json) =>
        (await import('../plugins.ts')).schemaCommand(part, options),
      ),
    );

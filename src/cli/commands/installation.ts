/**
 * Adds `init`, `doctor`, `setup`, `plugins` and `schema`: the commands for starting out, and the
 * reference.
 */
import { append, type Commands, jsonOption, storeOption } from '../options.ts';

export const startCommands: Commands = {
  init: (program, lazily) =>
    program
      .command('init [dir]')
      .description('write a starter folder: a spec that runs, an attack and its test')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../installation.ts')).initCommand)),
};

export const installationCommands: Commands = {
  doctor: (program, lazily) =>
    program
      .command('doctor')
      .description('say which compute backend is used, why not a better one, and how to get it')
      .addOption(storeOption())
      .option('--backend <name>', 'ask for this one')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../installation.ts')).doctorCommand)),
  setup: (program, lazily) =>
    program
      .command('setup')
      .description(
        'build the TensorFlow backend, once per installation; without it everything runs slower',
      )
      .option('--tensorflow <which>', 'cpu, cuda, or the path of a TensorFlow of your own')
      .option('--torch', 'also make a Python with PyTorch, for `--backend torch`')
      .action(lazily(async () => (await import('../installation.ts')).setupCommand)),
  plugins: (program, lazily) =>
    program
      .command('plugins [kind] [name]')
      .description(
        'list attacks, adapters, stages, models, data sets, sources and executors, or describe one; ' +
          '`plugins attack NAME` also shows what the attack makes of a row',
      )
      .option('--plugin <file>', 'take in a plugin of your own; may be repeated', append)
      .option('--text <text>', "the row's text, for the example of an attack")
      .option('--label <class>', "the row's class")
      .option('--classes <names>', 'the classes, with commas between them (default: 0,1)')
      .option('--answer <text>', 'the answer, which makes the text a prompt')
      .option('--set <name=value>', 'a parameter of the attack; may be repeated', append)
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../plugins.ts')).pluginsCommand)),
  schema: (program, lazily) =>
    program
      .command('schema [part]')
      .description(
        'describe a part of a spec in words (data.train, train.schedule; "spec" for its sections); ' +
          'without one: print the whole JSON Schema, plugins included',
      )
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../plugins.ts')).schemaCommand)),
};

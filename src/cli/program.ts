/** The program with its commands, and the messages for faults. */
import { Command, CommanderError } from 'commander';
import type { UserFault } from '../api.ts';
import { ownVersion } from '../run/execute/environment.ts';
import { SpecFault } from '../run/types.ts';
import { systemFault } from '../store/faults.ts';
import { runCommands, storeCommands } from './commands/records.ts';
import { specCommands } from './commands/specs.ts';
import { type Commands, gatherValues, jsonOption, type Lazily, storeOption } from './options.ts';
import { paintErr, say } from './terminal.ts';

const INTERNAL_ERROR = 1;
const USER_FAULT = 2;

/** The commands by name, in the order of `--help`. */
const COMMANDS: Commands = {
  ...specCommands,
  ...runCommands,
  init: (program, lazily) =>
    program
      .command('init [dir]')
      .description('write a starter folder: a spec that runs, an attack and its test')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('./installation.ts')).initCommand)),
  ...storeCommands,
  doctor: (program, lazily) =>
    program
      .command('doctor')
      .description('say which compute backend is used, why not a better one, and how to get it')
      .addOption(storeOption())
      .option('--backend <name>', 'ask for this one')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('./installation.ts')).doctorCommand)),
  setup: (program, lazily) =>
    program
      .command('setup')
      .description(
        'build the TensorFlow backend, once per installation; without it everything runs slower',
      )
      .option('--tensorflow <which>', 'cpu, cuda, or the path of a TensorFlow of your own')
      .option('--torch', 'also make a Python with PyTorch, for `--backend torch`')
      .action(lazily(async () => (await import('./installation.ts')).setupCommand)),
  plugins: (program, lazily) =>
    program
      .command('plugins [kind] [name]')
      .description(
        'list attacks, adapters, stages, models, data sets, sources and executors, or describe ' +
          'one; `plugins attack NAME` also shows what the attack makes of a row',
      )
      .option('--plugin <file>', 'take in a plugin of your own; may be repeated', gatherValues)
      .option('--text <text>', "the row's text, for the example of an attack")
      .option('--label <class>', "the row's class")
      .option('--classes <names>', 'the classes, with commas between them (default: 0,1)')
      .option('--answer <text>', 'the answer, which makes the text a prompt')
      .option('--set <name=value>', 'a parameter of the attack; may be repeated', gatherValues)
      .addOption(jsonOption())
      .action(lazily(async () => (await import('./plugins.ts')).pluginsCommand)),
  schema: (program, lazily) =>
    program
      .command('schema [part]')
      .description(
        'describe a part of a spec in words (data.train, train.schedule; "spec" for its ' +
          'sections); without one: print the whole JSON Schema, plugins included',
      )
      .addOption(jsonOption())
      .action(lazily(async () => (await import('./plugins.ts')).schemaCommand)),
};

/** Runs the command that the arguments name. Returns the exit code. */
export async function runCli(argv: readonly string[]): Promise<number> {
  let code = 0;
  const program = createProgram(argv[0], (returned) => {
    code = returned;
  });
  try {
    if (argv.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    return explainFault(error);
  }
}

/**
 * Returns the program with the called command.
 * @param called the command to add; if no command has this name, all are added
 * @param onExit called with the exit code of the command that was run
 */
function createProgram(called: string | undefined, onExit: (code: number) => void): Command {
  const program = new Command('dosimeter')
    .description(
      'Measures what poisoned training data does to a language model: ' +
        'LoRA against full fine-tuning.',
    )
    .version(ownVersion(), '-V, --version', 'print the version')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(paintErr.red(text)) })
    .showHelpAfterError('(dosimeter --help lists the commands and options)')
    .helpOption('-h, --help', 'show this help');
  const lazily: Lazily =
    (load) =>
    async (...args) => {
      const command = await load();
      onExit(await command(...args));
    };
  const known = Object.entries(COMMANDS),
    wanted = known.filter(([name]) => name === called);
  for (const [, add] of wanted.length === 0 ? known : wanted) add(program, lazily);
  return program;
}

/** Prints a user's fault without a stack, and any other error with one. Returns the exit code. */
async function explainFault(error: unknown): Promise<number> {
  if (error instanceof CommanderError) {
    // Commander has printed its message. Help and version also end here, with exit code 0.
    return error.exitCode === 0 ? 0 : USER_FAULT;
  }
  if (error instanceof SpecFault) {
    const { printDiagnostics } = await import('../spec/print.ts');
    process.stderr.write(
      printDiagnostics(error.diagnostics, {
        color: paintErr.isColorSupported,
        width: process.stderr.isTTY ? process.stderr.columns || 80 : Infinity,
      }),
    );
    return USER_FAULT;
  }
  const fault = (error as Error | null)?.name === 'UserFault' ? error : systemFault(error);
  if (fault !== null) {
    const { message, hint } = fault as UserFault;
    say(`${paintErr.red('error:')} ${message}${hint === undefined ? '' : `\n  ${hint}`}`);
    return USER_FAULT;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  say(`${paintErr.red('internal error:')} ${text}`);
  return INTERNAL_ERROR;
}

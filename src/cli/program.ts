/** The commands, and what becomes of a fault. */
import { Command, CommanderError, Option } from 'commander';
import type { BackendName } from '../api.ts';
import type { UserFault } from '../api.ts';
import { SpecFault } from '../engine/faults.ts';
import type { SweepOptions } from '../engine/learning-rates.ts';
import { RUNS_KEPT } from '../engine/places.ts';
import { ownVersion } from '../execute/environment.ts';
import { systemFault } from '../store/faults.ts';
import type { ExecCommandOptions } from './exec.ts';
import type { ExecuteOptions } from './execute.ts';
import type { ExplainOptions } from './explain.ts';
import type { PackOptions, SpecOptions } from './options.ts';
import {
  gatherNames,
  jsonOption,
  ratesOption,
  retriesOption,
  seedsOption,
  shareOption,
  storeOption,
  timeoutOption,
  wholeNumber,
  withPackOptions,
  withSpecOptions,
} from './options.ts';
import type { ResultsOptions } from './results.ts';
import type { ReportOptions } from './run.ts';
import type { GcOptions } from './store.ts';
import { paintErr, say } from './terminal.ts';

const FAULT = 1,
  WRONG = 2;

export async function runCli(argv: readonly string[]): Promise<number> {
  let code = 0;
  const does =
    <Args extends unknown[]>(command: (...args: Args) => Promise<number>) =>
    async (...args: Args): Promise<void> => {
      code = await command(...args);
    };
  const program = createProgram(does);
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

type Does = <Args extends unknown[]>(
  command: (...args: Args) => Promise<number>,
) => (...args: Args) => Promise<void>;

function createProgram(does: Does): Command {
  const program = new Command('dosimeter')
    .description(
      'Measures what poisoned training data does to a language model: LoRA against full fine-tuning.',
    )
    .version(ownVersion(), '-V, --version')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(paintErr.red(text)) })
    .showHelpAfterError('(dosimeter --help lists what there is)')
    .helpOption('-h, --help', 'show this');
  const onSpec = (name: string, summary: string): Command =>
    withSpecOptions(program.command(`${name} <spec>`).description(summary)).addOption(jsonOption());

  withPackOptions(onSpec('run', 'run what is missing, then print the path of the report'))
    .option('--fail-fast', 'start nothing more after a failure')
    .addOption(retriesOption())
    .addOption(timeoutOption())
    .option(
      '--executor <name>',
      'where stages run (default: local; `dosimeter plugins` lists them)',
    )
    .action(
      does(
        async (
          spec: string,
          options: SpecOptions &
            PackOptions &
            Pick<ExecuteOptions, 'failFast' | 'retries' | 'timeout' | 'executor'>,
        ) => (await import('./run.ts')).runCommand(spec, options),
      ),
    );
  withPackOptions(onSpec('plan', 'show what would run, and what is cached'))
    .addOption(
      new Option('--mermaid', 'print the stages and their states as a Mermaid flowchart').conflicts(
        ['json', 'dot'],
      ),
    )
    .addOption(new Option('--dot', 'print them as a Graphviz digraph').conflicts(['json']))
    .action(
      does(
        async (
          spec: string,
          options: SpecOptions & PackOptions & { mermaid?: boolean; dot?: boolean },
        ) => (await import('./plan.ts')).planCommand(spec, options),
      ),
    );
  const names = (value: string): readonly string[] => gatherNames(value, []);
  onSpec('results', 'print the numbers of the finished cells, over the seeds')
    .addOption(
      new Option(
        '--metric <names>',
        'these only, such as asr,accuracy or fisher.*; may be repeated',
      )
        .argParser(gatherNames)
        .default([], 'accuracy and attack success'),
    )
    .option('--all', 'every metric, a line each')
    .addOption(new Option('--csv', 'as CSV, a line each number').conflicts(['json', 'latex']))
    .addOption(
      new Option(
        '--steps',
        'along each training instead, where the spec has train.evaluate_every',
      ).conflicts(['csv', 'latex', 'all']),
    )
    .addOption(new Option('--latex', 'as a LaTeX table (booktabs)').conflicts(['json', 'all']))
    .addOption(new Option('--rows <axes>', 'of that table, such as adapter,rank').argParser(names))
    .addOption(
      new Option('--columns <axes>', 'likewise, such as poisoning.attack').argParser(names),
    )
    .addOption(
      new Option(
        '--against <what>',
        'what its numbers are compared with, seed by seed: full fine-tuning, the paired clean run',
      ).choices(['full', 'clean', 'none']),
    )
    .action(
      does(async (spec: string, options: ResultsOptions) =>
        (await import('./results.ts')).resultsCommand(spec, options),
      ),
    );
  withSpecOptions(
    program
      .command('diff <specA> <specB>')
      .description('compare the results of two specs, cell by cell: what B has more than A'),
  )
    .addOption(jsonOption())
    .action(
      does(async (specA: string, specB: string, options: SpecOptions) =>
        (await import('./diff.ts')).diffCommand(specA, specB, options),
      ),
    );
  onSpec('export', 'copy the trained models of a spec out of the store, for PEFT and transformers')
    .requiredOption('--out <dir>', 'where they go: a folder each')
    .option('--merge', 'whole checkpoints for transformers, adapters merged into the weights')
    .option('--force', 'replace other models that are there')
    .action(
      does(
        async (
          spec: string,
          options: SpecOptions & { out: string; merge?: boolean; force?: boolean },
        ) => (await import('./export.ts')).exportCommand(spec, options),
      ),
    );
  withPackOptions(
    onSpec(
      'learning-rates',
      'choose the learning rate of each adapter, without an attack, on training rows that are held out',
    ),
  )
    .addOption(ratesOption())
    .addOption(seedsOption())
    .addOption(shareOption())
    .action(
      does(async (spec: string, options: SpecOptions & PackOptions & SweepOptions) =>
        (await import('./learning-rates.ts')).learningRatesCommand(spec, options),
      ),
    );
  onSpec('report', 'make the report of what is in the store, without running anything else')
    .option(
      '--pdf [dir]',
      'its figures too, as PDF, SVG and CSV (default: .dosimeter/reports/NAME-figures)',
    )
    .action(
      does(async (spec: string, options: ReportOptions) =>
        (await import('./run.ts')).reportCommand(spec, options),
      ),
    );
  withSpecOptions(
    program
      .command('explain <spec> [stage]')
      .description('say why stages would run: what changed since the most similar one'),
  )
    .option('--all', 'of each stage, not each cause')
    .addOption(jsonOption())
    .action(
      does(async (spec: string, stage: string | undefined, options: ExplainOptions) =>
        (await import('./explain.ts')).explainCommand(spec, stage, options),
      ),
    );
  withSpecOptions(
    program
      .command('exec [spec] [stage]')
      .description("run one stage by hand in a folder of its own, and compare it with the store's"),
  )
    .option('--out <dir>', 'where its files go (default: .dosimeter/exec/STAGE)')
    .addOption(new Option('--job <file>', 'run the job in this file, as executors do').hideHelp())
    .addOption(new Option('--result <file>', 'how it ended').hideHelp())
    .addOption(jsonOption())
    .action(
      does(
        async (spec: string | undefined, stage: string | undefined, options: ExecCommandOptions) =>
          (await import('./exec.ts')).execCommand(spec, stage, options),
      ),
    );
  program
    .command('status [run]')
    .description('list the latest runs, or say how one stands')
    .option('--all', 'list every run')
    .addOption(jsonOption())
    .action(
      does(async (run: string | undefined, options: { json?: boolean; all?: boolean }) =>
        (await import('./runs.ts')).statusCommand(run, options),
      ),
    );
  program
    .command('logs [stage]')
    .description('print the log of a stage, or list the logs')
    .option('--run <id>', 'of this run (default: the latest)')
    .addOption(jsonOption())
    .action(
      does(async (stage: string | undefined, options: { run?: string; json?: boolean }) =>
        (await import('./runs.ts')).logsCommand(stage, options),
      ),
    );
  program
    .command('init [dir]')
    .description('write a starter folder: a spec that runs, an attack and its test')
    .addOption(jsonOption())
    .action(
      does(async (dir: string | undefined, options: { json?: boolean }) =>
        (await import('./init.ts')).initCommand(dir, options),
      ),
    );
  program
    .command('verify')
    .description('check every stored file against its digest')
    .addOption(storeOption())
    .addOption(jsonOption())
    .action(
      does(async (options: { store: string; json?: boolean }) =>
        (await import('./store.ts')).verifyCommand(options),
      ),
    );
  withSpecOptions(
    program
      .command('pin [spec|run]')
      .description(
        'keep the results of a spec, or of a run, from every gc; alone: list what is pinned',
      ),
  )
    .addOption(jsonOption())
    .option('--name <name>', "pin under this name (default: the experiment's, or the run's id)")
    .action(
      does(async (what: string | undefined, options: SpecOptions & { name?: string }) =>
        (await import('./pins.ts')).pinCommand(what, options),
      ),
    );
  program
    .command('unpin <name>')
    .description('give a pin up')
    .addOption(storeOption())
    .action(
      does(async (name: string, options: { store: string }) =>
        (await import('./pins.ts')).unpinCommand(name, options),
      ),
    );
  program
    .command('gc')
    .description(
      'sweep leftovers, and the least recently used entries that are not pinned down to a size',
    )
    .addOption(storeOption())
    .option('--max-size <size>', 'such as 5GB')
    .option(
      '--runs',
      'also sweep the records of old runs (journal and logs): none that is pinned, or that goes on',
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
        `with --runs: keep what is younger (default: ${RUNS_KEPT.days})`,
      ).argParser(wholeNumber('--keep-days', 0)),
    )
    .option('--dry-run', 'only say what would go')
    .addOption(jsonOption())
    .action(does(async (options: GcOptions) => (await import('./store.ts')).gcCommand(options)));
  program
    .command('doctor')
    .description('say which compute backend is used, why not a better one, and how to get it')
    .addOption(storeOption())
    .option('--backend <name>', 'ask for this one')
    .addOption(jsonOption())
    .action(
      does(async (options: { store: string; backend?: BackendName; json?: boolean }) =>
        (await import('./doctor.ts')).doctorCommand(options),
      ),
    );
  program
    .command('setup')
    .description('build the TensorFlow backend, once an installation; without it all runs slower')
    .option('--tensorflow <which>', 'cpu, cuda, or the path of a TensorFlow of your own')
    .action(
      does(async (options: { tensorflow?: string }) =>
        (await import('./setup.ts')).setupCommand(options),
      ),
    );
  program
    .command('plugins [name]')
    .description(
      'list attacks, adapters, stages, models, data sets and sources, or describe one with its parameters',
    )
    .addOption(jsonOption())
    .action(
      does(async (name: string | undefined, options: { json?: boolean }) =>
        (await import('./plugins.ts')).pluginsCommand(name, options),
      ),
    );
  program
    .command('schema [part]')
    .description(
      'describe a part of a spec in words (data.train, train.schedule; "spec" for its sections); alone: the JSON Schema of all of it, plugins included',
    )
    .addOption(jsonOption())
    .action(
      does(async (part: string | undefined, options: { json?: boolean }) =>
        (await import('./plugins.ts')).schemaCommand(part, options),
      ),
    );
  return program;
}

/** A user's fault is told without a stack; the exit code says whose it was. */
async function explainFault(error: unknown): Promise<number> {
  if (error instanceof CommanderError) {
    // Help and version end here as well, with their own code; commander has printed what there is to say.
    return error.exitCode === 0 ? 0 : WRONG;
  }
  if (error instanceof SpecFault) {
    const { printDiagnostics } = await import('../experiment/print.ts');
    process.stderr.write(printDiagnostics(error.diagnostics, { color: paintErr.isColorSupported }));
    return WRONG;
  }
  const fault = (error as Error | null)?.name === 'UserFault' ? error : systemFault(error);
  if (fault !== null) {
    const { message, hint } = fault as UserFault;
    say(`${paintErr.red('error:')} ${message}${hint === undefined ? '' : `\n  ${hint}`}`);
    return WRONG;
  }
  say(
    `${paintErr.red('internal error:')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
  );
  return FAULT;
}

/** Adds the commands on a spec: those that run its stages, and those on their results. */
import { Option } from 'commander';
import { UserFault } from '../../api.ts';
import { FIGURE_FORMATS, type FigureFormat } from '../../report/types.ts';
import {
  aboveZero,
  betweenZeroAndOne,
  type Commands,
  gatherNames,
  jsonOption,
  namesIn,
  packOption,
  ratesOption,
  remoteOption,
  specCommand,
  wholeNumber,
  withAttemptLimits,
} from '../options.ts';

const FORMATS = Object.keys(FIGURE_FORMATS) as FigureFormat[];

/**
 * Parses `--format`.
 * @throws UserFault if a name is not that of a format
 */
function formatsIn(text: string): readonly FigureFormat[] {
  const formats = FORMATS.filter((format) => namesIn(text).includes(format));
  if (formats.length > 0 && formats.length === new Set(namesIn(text)).size) return formats;
  throw new UserFault(
    `--format takes ${FORMATS.join(', ')}, got "${text}"`,
    'several are separated by commas, such as --format pdf,csv',
  );
}

/**
 * Returns the option `--metric`.
 * @param otherwise what is printed without the option, for its help
 */
const metricOption = (otherwise: string): Option =>
  new Option(
    '--metric <names>',
    'print only these, such as asr,accuracy or fisher.*; may be repeated',
  )
    .argParser(gatherNames)
    .default([], otherwise);

export const specCommands: Commands = {
  run: (program, lazily) =>
    withAttemptLimits(
      specCommand(
        program,
        'run <spec>',
        'run the stages that are missing, then print the path of the report',
      )
        .addOption(jsonOption())
        .addOption(packOption())
        .option('--fail-fast', 'start no more stages after a failure'),
    )
      .addOption(
        new Option(
          '--stop-when <what>',
          'collapsed: end the run, with exit code 3, once a clean model predicts one class only ' +
            'or is no better than the majority class',
        ).choices(['collapsed']),
      )
      .option('--no-compile', 'carry out each operation of a step by itself; same results, slower')
      .option(
        '--executor <name>',
        'the executor that stages run on (default: local; `dosimeter plugins` lists them)',
      )
      .option('--notes <text>', 'what people should know about this run, which `status` shows')
      .option(
        '--detach',
        'go on in the background, beyond a log-out; `dosimeter attach` follows it',
      )
      .addOption(
        new Option(
          '--coordinator <where>',
          'with --executor slurm: what submits and follows the jobs goes on in the background, ' +
            'as a process here or as a job',
        ).choices(['process', 'job']),
      )
      .addOption(remoteOption())
      .option('--push', 'send what this run makes to the remote')
      .action(lazily(async () => (await import('../run.ts')).runCommand)),
  plan: (program, lazily) =>
    specCommand(program, 'plan <spec>', 'show what would run, and what is cached')
      .addOption(jsonOption())
      .addOption(packOption())
      .addOption(
        new Option(
          '--mermaid',
          'print the stages and their states as a Mermaid flowchart',
        ).conflicts(['json', 'dot']),
      )
      .option('--executor <name>', 'show the jobs that it would submit, with their node-hours')
      .addOption(
        new Option(
          '--hardware <name>',
          'also say what the trainings would take there: time, by its operations a second, ' +
            'and memory',
        )
          .choices(['cpu', 'a6000', 'a100', 'h100'])
          .conflicts(['json', 'mermaid', 'dot', 'executor']),
      )
      .option(
        '--dry-run [dir]',
        'with --executor: also write the batch scripts (default: .dosimeter/NAME)',
      )
      .addOption(remoteOption())
      .addOption(new Option('--dot', 'print them as a Graphviz digraph').conflicts(['json']))
      .action(lazily(async () => (await import('../plan.ts')).planCommand)),
  results: (program, lazily) =>
    specCommand(
      program,
      'results <spec>',
      'print the numbers of the finished cells, over the seeds',
    )
      .addOption(jsonOption())
      .addOption(metricOption('accuracy and attack success'))
      .option('--all', 'print every metric, one per line')
      .addOption(new Option('--csv', 'print CSV, one number per line').conflicts(['json', 'latex']))
      .addOption(
        new Option(
          '--steps',
          'print what was measured along each training (train.evaluate_every)',
        ).conflicts(['csv', 'latex', 'all']),
      )
      .addOption(new Option('--latex', 'print a LaTeX table (booktabs)').conflicts(['json', 'all']))
      .addOption(
        new Option('--markdown', 'print a table in Markdown').conflicts([
          'json',
          'csv',
          'latex',
          'all',
        ]),
      )
      .option('--rows <axes>', 'the axes of its rows, such as adapter,rank', namesIn)
      .option('--columns <axes>', 'the axes of its columns, such as poisoning.attack', namesIn)
      .addOption(
        new Option(
          '--against <what>',
          'compare its numbers, seed by seed, with full fine-tuning or the paired clean run',
        ).choices(['full', 'clean', 'none']),
      )
      .addOption(
        new Option(
          '--spread <what>',
          'beside a mean over several seeds: half of its 95% interval, the standard deviation, ' +
            'or the least and the largest value (default: interval)',
        ).choices(['interval', 'std', 'range']),
      )
      .option('--no-notes', 'with --latex, definitions and caveats as comments above the table')
      .action(lazily(async () => (await import('../results.ts')).resultsCommand)),
  diff: (program, lazily) =>
    specCommand(
      program,
      'diff <specA> <specB>',
      'compare the results of two specs, condition by condition: by how much B exceeds A',
    )
      .addOption(metricOption('accuracy and attack success; all with --json'))
      .option('--all', 'print every metric')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../diff.ts')).diffCommand)),
  crosscheck: (program, lazily) =>
    specCommand(
      program,
      'crosscheck <spec>',
      'run cells on a second engine, PyTorch, and compare every number with the first',
    )
      .addOption(jsonOption())
      .option(
        '--cells <n>',
        'how many cells, evenly spaced over the grid',
        wholeNumber('--cells'),
        4,
      )
      .option(
        '--tolerance <share>',
        'the largest difference that passes, |a − b|/max(1, |a|, |b|)',
        aboveZero('--tolerance'),
        1e-3,
      )
      .option('--mutate', 'also show that it sees an error: change each training a little')
      .action(lazily(async () => (await import('../crosscheck.ts')).crosscheckCommand)),
  export: (program, lazily) =>
    specCommand(
      program,
      'export <spec>',
      'copy the trained models of a spec out of the store, for PEFT and transformers',
    )
      .addOption(jsonOption())
      .requiredOption('--out <dir>', 'the folder that the models go to, each in its own folder')
      .option('--merge', 'write whole checkpoints for transformers, with the adapters merged in')
      .addOption(
        new Option(
          '--zoo',
          'write clean and poisoned models in pairs, with a manifest (zoo.json) and a card each',
        ).conflicts('merge'),
      )
      .option('--force', 'replace other models that are already there')
      .action(lazily(async () => (await import('../export.ts')).exportCommand)),
  'learning-rates': (program, lazily) =>
    specCommand(
      program,
      'learning-rates <spec>',
      'choose the learning rate of each adapter, without an attack, on held-out training rows',
    )
      .addOption(jsonOption())
      .addOption(packOption())
      .addOption(ratesOption())
      .option(
        '--seeds <n>',
        "how many of the spec's seeds, from the first",
        wholeNumber('--seeds'),
        3,
      )
      .option(
        '--share <share>',
        'the share of the training rows that is held out',
        betweenZeroAndOne('--share'),
        0.2,
      )
      .action(lazily(async () => (await import('../learning-rates.ts')).learningRatesCommand)),
  report: (program, lazily) =>
    specCommand(
      program,
      'report <spec>',
      'make the report from what is in the store; run nothing else',
    )
      .addOption(jsonOption())
      .option(
        '--pdf [dir]',
        'write its figures too, as PDF, SVG and CSV (default: .dosimeter/reports/NAME-figures)',
      )
      .action(lazily(async () => (await import('../run.ts')).reportCommand)),
  figures: (program, lazily) =>
    specCommand(
      program,
      'figures <spec>',
      "write the report's figures and tables from what is in the store; --only NAME writes one",
    )
      .addOption(jsonOption())
      .requiredOption('--out <dir>', 'the folder that they go to')
      .addOption(
        new Option(
          '--format <names>',
          'the formats: a figure as Vega-Lite, SVG, PDF, PNG (300 dpi), CSV and LaTeX with its ' +
            'caption, a table as LaTeX, Markdown and CSV',
        )
          .argParser(formatsIn)
          .default(FORMATS, 'all'),
      )
      .action(lazily(async () => (await import('../run.ts')).figuresCommand)),
  explain: (program, lazily) =>
    specCommand(
      program,
      'explain <spec> [stage]',
      'explain why stages would run: what changed since the most similar stored stage',
    )
      .option('--all', 'explain each stage instead of each cause')
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../explain.ts')).explainCommand)),
  exec: (program, lazily) =>
    specCommand(
      program,
      'exec [spec] [stage]',
      'run one stage by hand in a folder of its own, and compare its files with the store',
    )
      .option('--out <dir>', 'the folder of its files (default: .dosimeter/exec/STAGE)')
      .addOption(
        new Option('--job <file>', 'perform the job in this file, for an executor').hideHelp(),
      )
      .addOption(
        new Option('--task <file>', 'perform the task in this file, for a scheduler').hideHelp(),
      )
      .addOption(
        new Option('--result <file>', 'write the result of the job to this file').hideHelp(),
      )
      .addOption(jsonOption())
      .action(lazily(async () => (await import('../exec.ts')).execCommand)),
};

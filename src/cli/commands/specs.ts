/** Adds the commands on a spec: those that run its stages, and those on their results. */
import { Option } from 'commander';
import { UserFault } from '../../api.ts';
import { FIGURE_FORMATS, type FigureFormat } from '../../report/types.ts';
import type { CrosscheckOptions } from '../crosscheck.ts';
import type { DiffOptions } from '../diff.ts';
import type { ExecCommandOptions } from '../exec.ts';
import type { ExplainOptions } from '../explain.ts';
import type { ExportOptions } from '../export.ts';
import type { LearningRatesOptions } from '../learning-rates.ts';
import {
  aboveZero,
  type AddCommand,
  gatherNames,
  jsonOption,
  namesIn,
  packOption,
  ratesOption,
  remoteOption,
  seedsOption,
  shareOption,
  specCommand,
  type SpecOptions,
  wholeNumber,
  withAttemptLimits,
  withSpecOptions,
} from '../options.ts';
import type { PlanOptions } from '../plan.ts';
import type { ResultsOptions } from '../results.ts';
import type { FiguresOptions, ReportOptions, RunCommandOptions } from '../run.ts';

export const addRun: AddCommand = (program, exits) =>
  withAttemptLimits(
    specCommand(
      program,
      'run',
      'run the stages that are missing, then print the path of the report',
    )
      .addOption(packOption())
      .option('--fail-fast', 'start no more stages after a failure'),
  )
    .addOption(
      new Option(
        '--stop-when <what>',
        'collapsed: end the run, with exit code 3, once a clean model predicts one class only or ' +
          'is no better than the majority class',
      ).choices(['collapsed']),
    )
    .option('--no-compile', 'carry out each operation of a step by itself; same results, slower')
    .option(
      '--executor <name>',
      'the executor that stages run on (default: local; `dosimeter plugins` lists them)',
    )
    .option('--notes <text>', 'what people should know about this run, which `status` shows')
    .option('--detach', 'go on in the background, beyond a log-out; `dosimeter attach` follows it')
    .addOption(
      new Option(
        '--coordinator <where>',
        'with --executor slurm: what submits and follows the jobs goes on in the background, as a ' +
          'process here or as a job',
      ).choices(['process', 'job']),
    )
    .addOption(remoteOption())
    .option('--push', 'send what this run makes to the remote')
    .action(
      exits(async (spec: string, options: RunCommandOptions) =>
        (await import('../run.ts')).runCommand(spec, options),
      ),
    );

export const addPlan: AddCommand = (program, exits) =>
  specCommand(program, 'plan', 'show what would run, and what is cached')
    .addOption(packOption())
    .addOption(
      new Option('--mermaid', 'print the stages and their states as a Mermaid flowchart').conflicts(
        ['json', 'dot'],
      ),
    )
    .option('--executor <name>', 'show the jobs that it would submit, with their node-hours')
    .addOption(
      new Option(
        '--hardware <name>',
        'also say what the trainings would take there: time, by its operations a second, and memory',
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
    .action(
      exits(async (spec: string, options: PlanOptions) =>
        (await import('../plan.ts')).planCommand(spec, options),
      ),
    );

export const addReport: AddCommand = (program, exits) =>
  specCommand(program, 'report', 'make the report from what is in the store; run nothing else')
    .option(
      '--pdf [dir]',
      'write its figures too, as PDF, SVG and CSV (default: .dosimeter/reports/NAME-figures)',
    )
    .action(
      exits(async (spec: string, options: ReportOptions) =>
        (await import('../run.ts')).reportCommand(spec, options),
      ),
    );

const FORMATS = Object.keys(FIGURE_FORMATS) as FigureFormat[];

function formatsIn(text: string): readonly FigureFormat[] {
  const formats = FORMATS.filter((format) => namesIn(text).includes(format));
  if (formats.length > 0 && formats.length === new Set(namesIn(text)).size) return formats;
  throw new UserFault(
    `--format takes ${FORMATS.join(', ')}, got "${text}"`,
    'several are separated by commas, such as --format pdf,csv',
  );
}

export const addFigures: AddCommand = (program, exits) =>
  specCommand(
    program,
    'figures',
    "write the report's figures and tables from what is in the store; --only NAME writes one",
  )
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
    .action(
      exits(async (spec: string, options: FiguresOptions) =>
        (await import('../run.ts')).figuresCommand(spec, options),
      ),
    );

export const addExplain: AddCommand = (program, exits) =>
  withSpecOptions(
    program
      .command('explain <spec> [stage]')
      .description(
        'explain why stages would run: what changed since the most similar stored stage',
      ),
  )
    .option('--all', 'explain each stage instead of each cause')
    .addOption(jsonOption())
    .action(
      exits(async (spec: string, stage: string | undefined, options: ExplainOptions) =>
        (await import('../explain.ts')).explainCommand(spec, stage, options),
      ),
    );

export const addExec: AddCommand = (program, exits) =>
  withSpecOptions(
    program
      .command('exec [spec] [stage]')
      .description(
        'run one stage by hand in a folder of its own, and compare its files with the store',
      ),
  )
    .option('--out <dir>', 'the folder of its files (default: .dosimeter/exec/STAGE)')
    .addOption(
      new Option('--job <file>', 'perform the job in this file, for an executor').hideHelp(),
    )
    .addOption(
      new Option('--task <file>', 'perform the task in this file, for a scheduler').hideHelp(),
    )
    .addOption(new Option('--result <file>', 'write the result of the job to this file').hideHelp())
    .addOption(jsonOption())
    .action(
      exits(
        async (
          spec: string | undefined,
          stage: string | undefined,
          options: SpecOptions & ExecCommandOptions,
        ) => (await import('../exec.ts')).execCommand(spec, stage, options),
      ),
    );

const metricOption = (otherwise: string): Option =>
  new Option(
    '--metric <names>',
    'print only these, such as asr,accuracy or fisher.*; may be repeated',
  )
    .argParser(gatherNames)
    .default([], otherwise);

export const addResults: AddCommand = (program, exits) =>
  specCommand(program, 'results', 'print the numbers of the finished cells, over the seeds')
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
    .addOption(
      new Option('--rows <axes>', 'the axes of its rows, such as adapter,rank').argParser(namesIn),
    )
    .addOption(
      new Option('--columns <axes>', 'the axes of its columns, such as poisoning.attack').argParser(
        namesIn,
      ),
    )
    .addOption(
      new Option(
        '--against <what>',
        'compare its numbers, seed by seed, with full fine-tuning or the paired clean run',
      ).choices(['full', 'clean', 'none']),
    )
    .addOption(
      new Option(
        '--spread <what>',
        'beside a mean over several seeds: half of its 95% interval, the standard deviation, or ' +
          'the least and the largest value (default: interval)',
      ).choices(['interval', 'std', 'range']),
    )
    .option('--no-notes', 'with --latex, definitions and caveats as comments above the table')
    .action(
      exits(async (spec: string, options: ResultsOptions) =>
        (await import('../results.ts')).resultsCommand(spec, options),
      ),
    );

export const addDiff: AddCommand = (program, exits) =>
  withSpecOptions(
    program
      .command('diff <specA> <specB>')
      .description('compare the results of two specs, cell by cell: by how much B exceeds A'),
  )
    .addOption(metricOption('all'))
    .addOption(jsonOption())
    .action(
      exits(async (specA: string, specB: string, options: DiffOptions) =>
        (await import('../diff.ts')).diffCommand(specA, specB, options),
      ),
    );

export const addExport: AddCommand = (program, exits) =>
  specCommand(
    program,
    'export',
    'copy the trained models of a spec out of the store, for PEFT and transformers',
  )
    .requiredOption('--out <dir>', 'the folder that the models go to, each in its own folder')
    .option('--merge', 'write whole checkpoints for transformers, with the adapters merged in')
    .addOption(
      new Option(
        '--zoo',
        'write clean and poisoned models in pairs, with a manifest (zoo.json) and a card each',
      ).conflicts('merge'),
    )
    .option('--force', 'replace other models that are already there')
    .action(
      exits(async (spec: string, options: ExportOptions) =>
        (await import('../export.ts')).exportCommand(spec, options),
      ),
    );

export const addLearningRates: AddCommand = (program, exits) =>
  specCommand(
    program,
    'learning-rates',
    'choose the learning rate of each adapter, without an attack, on held-out training rows',
  )
    .addOption(packOption())
    .addOption(ratesOption())
    .addOption(seedsOption())
    .addOption(shareOption())
    .action(
      exits(async (spec: string, options: LearningRatesOptions) =>
        (await import('../learning-rates.ts')).learningRatesCommand(spec, options),
      ),
    );

export const addCrosscheck: AddCommand = (program, exits) =>
  specCommand(
    program,
    'crosscheck',
    'run cells on a second engine, PyTorch, and compare every number with the first',
  )
    .addOption(
      new Option('--cells <n>', 'how many cells, evenly spaced over the grid')
        .argParser(wholeNumber('--cells'))
        .default(4),
    )
    .addOption(
      new Option(
        '--tolerance <share>',
        'the largest difference that passes, |a − b|/max(1, |a|, |b|)',
      )
        .argParser(aboveZero('--tolerance'))
        .default(1e-3),
    )
    .option('--mutate', 'also show that it sees an error: change each training a little')
    .action(
      exits(async (spec: string, options: CrosscheckOptions) =>
        (await import('../crosscheck.ts')).crosscheckCommand(spec, options),
      ),
    );

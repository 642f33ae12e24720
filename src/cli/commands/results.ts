/** Adds `results`, `diff`, `export` and `learning-rates`: the commands on results. */
import { Option } from 'commander';
import type { DiffOptions } from '../diff.ts';
import type { ExportOptions } from '../export.ts';
import type { LearningRatesOptions } from '../learning-rates.ts';
import {
  gatherNames,
  jsonOption,
  namesIn,
  ratesOption,
  seedsOption,
  shareOption,
  specCommand,
  packOption,
  withSpecOptions,
} from '../options.ts';
import type { ResultsOptions } from '../results.ts';
import type { AddCommand } from './types.ts';

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

/** Adds `run`, `plan`, `report`, `explain` and `exec`: the commands on a spec's stages. */
import { Option } from 'commander';
import type { ExecCommandOptions } from '../exec.ts';
import type { ExplainOptions } from '../explain.ts';
import type { SpecOptions } from '../options.ts';
import {
  jsonOption,
  remoteOption,
  specCommand,
  withAttemptLimits,
  packOption,
  withSpecOptions,
} from '../options.ts';
import type { PlanOptions } from '../plan.ts';
import type { ReportOptions, RunCommandOptions } from '../run.ts';
import type { AddCommand } from './types.ts';

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

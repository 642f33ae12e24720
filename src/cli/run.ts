/** `dosimeter run SPEC` and `dosimeter report SPEC`. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import type { AttemptLimits } from '../run/execute/attempt-limits.ts';
import type { WrittenFigures } from '../run/figures.ts';
import { prepare } from '../run/prepare.ts';
import type { PackOptions, SpecOptions } from './options.ts';
import { packingOf } from './options.ts';
import type { RunInTerminalOptions } from './run-in-terminal.ts';
import { runInTerminal } from './run-in-terminal.ts';
import { count, paintErr, say } from './terminal.ts';

export type RunCommandOptions = SpecOptions &
  PackOptions &
  AttemptLimits &
  Pick<
    RunInTerminalOptions,
    'failFast' | 'stopWhen' | 'executor' | 'notes' | 'compile' | 'remote' | 'push'
  > & {
    readonly detach?: boolean;
    readonly coordinator?: 'process' | 'job';
  };

export async function runCommand(spec: string, options: RunCommandOptions): Promise<number> {
  const prepared = await prepare(spec, options, { fetch: true, note: say });
  if (options.detach === true || options.coordinator !== undefined) {
    prepared.store.close();
    const { detachedRun } = await import('./detach.ts');
    return detachedRun(spec, options);
  }
  return runInTerminal(prepared, { ...options, packing: packingOf(options, options.executor) });
}

export interface ReportOptions extends SpecOptions {
  /** The folder that the figures are also written to as PDF; true for the default folder. */
  readonly pdf?: string | true;
}

/**
 * Makes the report from what is in the store. The report counts what is missing. No other stage
 * runs.
 */
export async function reportCommand(
  spec: string,
  { pdf, ...options }: ReportOptions,
): Promise<number> {
  const prepared = await prepare(spec, options, {
    fetch: false,
    note: say,
    goals: (goals, registry) =>
      goals.some((kind) => registry.get('stage', kind)?.descriptor.scope === 'experiment')
        ? goals
        : [...goals, 'report'],
  });
  if (!prepared.statuses.some(({ stage, state }) => stage.goal && state === 'cached')) {
    throw new UserFault(
      `nothing of "${prepared.experiment.name}" is in the store yet`,
      `run it first: dosimeter run ${spec}`,
    );
  }
  return runInTerminal(prepared, {
    ...options,
    mayRun: ({ descriptor }) => descriptor.scope === 'experiment',
    ...(pdf === undefined
      ? {}
      : {
          finish: async (summary) => {
            const { writeFigures } = await import('../run/figures.ts');
            const written = await writeFigures(prepared, summary, pdf);
            describeFigures(written);
            return { figures: written?.dir ?? null };
          },
        }),
  });
}

function describeFigures(written: WrittenFigures | null): void {
  if (written === null) {
    say(paintErr.yellow('there are no figures: no stage of this spec has made a report'));
    return;
  }
  const { dir, drawn, damaged, lacking } = written;
  for (const file of damaged)
    say(paintErr.red(`${file} is not what was stored; left out (dosimeter verify)`));
  for (const { figure, characters } of lacking)
    say(
      paintErr.yellow(
        `${figure}: the PDF's font (Inter) has no ${characters.slice(0, 10).join(' ')}: ` +
          'they are drawn as boxes; the SVG has them',
      ),
    );
  say(`${count(drawn, 'figure')} as PDF, SVG and CSV: ${path.relative('', dir) || '.'}`);
}

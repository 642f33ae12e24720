/** `dosimeter run SPEC` and `dosimeter report SPEC`. */
import { UserFault } from '../api.ts';
import { prepare } from '../engine/prepare.ts';
import type { ExecuteOptions } from './execute.ts';
import { execute } from './execute.ts';
import type { PackOptions, SpecOptions } from './options.ts';
import { packingOf } from './options.ts';
import { say } from './terminal.ts';

export async function runCommand(
  spec: string,
  options: SpecOptions &
    PackOptions &
    Pick<ExecuteOptions, 'failFast' | 'retries' | 'timeout' | 'executor'>,
): Promise<number> {
  return execute(await prepare(spec, options, { fetch: true, note: say }), {
    ...options,
    packing: packingOf(options),
  });
}

export interface ReportOptions extends SpecOptions {
  /** Its figures as PDF too, in this folder; true: in the default one. */
  readonly pdf?: string | true;
}

/** Makes the report of what is in the store; what is missing is counted in it, and nothing else runs. */
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
  return execute(prepared, {
    ...options,
    mayRun: ({ descriptor }) => descriptor.scope === 'experiment',
    ...(pdf === undefined
      ? {}
      : {
          finish: async (summary) => {
            const { writeFigures } = await import('./figures.ts');
            return { figures: await writeFigures(prepared, summary, pdf) };
          },
        }),
  });
}

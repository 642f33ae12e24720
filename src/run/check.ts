/**
 * Finds the faults that stages see in their input before anything runs. `plan` and `run` both ask
 * for them.
 */
import type { StageId } from '../plan/types.ts';
import type { Diagnostic } from '../spec/types.ts';
import type { Checked } from './execute/preflight.ts';
import type { StageStatus } from './execute/survey.ts';
import { distinctDiagnostics, storedWarnings, warningText } from './execute/warnings.ts';
import { defaultExecutor } from './executor.ts';
import { SpecFault } from './faults.ts';
import type { Note, Prepared } from './prepare.ts';

/** Whether an executor runs its stages on this machine; undefined where none is given. */
export const runsHere = (executor: string | undefined): boolean | undefined =>
  executor === undefined ? undefined : executor === defaultExecutor;

/**
 * Runs the preflight of each lacking stage. Passes on every warning, also those that are stored
 * with finished stages. A stage skips what it can't see yet, such as a source that is not fetched.
 * @param lacking those of `statuses` that would run
 * @param here what `runsHere` returns
 * @returns the warnings to be stored with the lacking stages
 * @throws SpecFault with every fault that was found
 */
export async function checkStages(
  {
    plan,
    assets,
    registry,
    statuses,
    unknownFamilies,
  }: Pick<Prepared, 'plan' | 'assets' | 'registry' | 'statuses' | 'unknownFamilies'>,
  lacking: readonly StageStatus[],
  here: boolean | undefined,
  note: Note,
): Promise<Checked['warnings']> {
  // For a large grid whose stages check nothing, the checks are not loaded.
  const checks = lacking.some(({ stage }) => stage.descriptor.preflight !== undefined)
    ? await import('./execute/preflight.ts')
    : null;
  const stored = storedWarnings(plan, statuses),
    { found: seen = [], warnings = new Map<StageId, never>() } =
      (await checks?.preflight(plan, lacking, assets, registry, here, statuses)) ?? {},
    found = distinctDiagnostics([...stored, ...seen]);
  const faults = found.filter(({ warning }) => !warning);
  // A warning, of a wrong column for one, may say where a fault comes from.
  if (faults.length > 0) {
    tell(found, note);
    throw new SpecFault(faults);
  }
  for (const uri of unknownFamilies)
    note(
      `${uri} is not on this machine yet: \`run\` learns from its config.json whether its family ` +
        `is supported (${families(registry)})`,
    );
  tell(found, note);
  return warnings;
}

function tell(found: readonly Diagnostic[], note: Note): void {
  for (const diagnostic of found) if (diagnostic.warning) note(warningText(diagnostic));
}

const families = (registry: Prepared['registry']): string =>
  registry
    .all('model')
    .flatMap(({ name, descriptor }) => descriptor.modelTypes ?? [name])
    .join(', ');

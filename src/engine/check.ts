/** What stages find wrong in their input before anything runs: asked by `plan` and by `run` alike. */
import type { StageStatus } from '../execute/survey.ts';
import { SpecFault } from './faults.ts';
import type { Note, Prepared } from './prepare.ts';

/**
 * Every fault is told at once, every warning as a note. What a stage cannot look at yet, a source that is not fetched, it passes over.
 * @param lacking of `statuses`, those that would run. @throws SpecFault
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
  note: Note,
): Promise<void> {
  if (!lacking.some(({ stage }) => stage.descriptor.preflight)) return; // a large grid that has nothing to check pays nothing
  const { preflight } = await import('../execute/preflight.ts');
  const found = await preflight(plan, lacking, assets, registry, statuses);
  const faults = found.filter(({ warning }) => !warning);
  if (faults.length > 0) throw new SpecFault(faults);
  for (const uri of unknownFamilies)
    note(
      `${uri} is not on this machine yet: whether it is of a family that is read (${families(registry)}) is not known before \`run\` asks for its config.json`,
    );
  for (const { message, range } of found)
    note(`${range === null ? '' : `${range.file}:${range.line}:${range.column}: `}${message}`);
}

const families = (registry: Prepared['registry']): string =>
  registry
    .all('model')
    .flatMap(({ name, descriptor }) => descriptor.modelTypes ?? [name])
    .join(', ');

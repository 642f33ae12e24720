/** Finds where a field of a stage's cell was written. */
import type { Problem } from '../api.ts';
import type { ExperimentCell, SourceRange } from '../spec/types.ts';

/**
 * Returns the place of a field in the spec.
 * @param section the section of the spec's cell that the stage's cell takes its fields from
 *   (`StageRequest.section`), or null if there is none. A field that the section lacks comes from
 *   the spec's cell itself.
 * @param path the field in the stage's cell
 */
export function locateIn(
  cell: ExperimentCell,
  section: string | null,
  path: Problem['path'],
): SourceRange {
  if (section === null) return cell.locate(path);
  const within: unknown = Object.entries(cell.config).find(([name]) => name === section)?.[1];
  const isOfSection =
    typeof within === 'object' && within !== null && Object.hasOwn(within, path[0] ?? '');
  return cell.locate(isOfSection ? [section, ...path] : path);
}

/** Where a field of a stage's own cell was written. */
import type { Problem } from '../api.ts';
import type { ExperimentCell, SourceRange } from '../experiment/types.ts';

/** @param section of the spec's cell, that the stage's cell has its fields from (`StageRequest.section`); what the section lacks is the spec's cell's own */
export function locateIn(
  cell: ExperimentCell,
  section: string | null,
  path: Problem['path'],
): SourceRange {
  const within =
    section === null
      ? undefined
      : (cell.config as unknown as { readonly [section: string]: object | undefined })[section];
  return cell.locate(
    within !== undefined && Object.hasOwn(within, path[0] ?? '') ? [section!, ...path] : path,
  );
}

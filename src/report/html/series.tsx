/** The cells of tables over seeds. */
import type { Condition, Series } from '../conditions.ts';
import { formatSummary, type NumberKind } from '../format.ts';
import type { Node } from './parts.tsx';

/**
 * Returns a mean with its interval, or why there is none.
 * @param whole the number of seeds
 * @param expected whether the condition should have the number, so that its lack is a failure
 */
export function seriesCell(
  { summary, failed, values }: Series,
  kind: NumberKind,
  whole: number,
  expected: boolean,
): Node {
  if (summary === null) return failed > 0 && expected ? <span class="bad">failed</span> : '–';
  return (
    <>
      {formatSummary(summary, kind)}
      {values.length < whole ? (
        <span class={failed > 0 ? 'bad' : 'muted'}> (n = {values.length})</span>
      ) : null}
    </>
  );
}

/** Says how many seeds finished and how many failed. */
export const seedsCell = (condition: Condition): Node => {
  const failed = condition.failures.size;
  return (
    <>
      {condition.cells.length - failed}
      {failed > 0 ? <span class="bad"> ({failed} failed)</span> : null}
    </>
  );
};

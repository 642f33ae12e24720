/** Cells of tables over seeds. */
import type { Condition, Series } from '../conditions.ts';
import { formatSummary, type NumberKind } from '../format.ts';
import type { Node } from './parts.tsx';

/** A mean with its interval, or what became of it. */
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

export const seedsCell = (condition: Condition): Node => {
  const failed = condition.failures.size;
  return (
    <>
      {condition.cells.length - failed}
      {failed > 0 ? <span class="bad"> ({failed} failed)</span> : null}
    </>
  );
};

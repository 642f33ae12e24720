/**
 * Writes every metric of every cell as CSV. A column `task` names the data set beside each metric
 * by which it is scored, if there is any.
 */
import type { Condition } from './conditions.ts';
import { toCsv } from './csv.ts';
import { evidenceColumns } from './evidence.ts';
import { taskBeside } from './tasks.ts';

/** The most rows that the CSV may have. For more, there is `dosimeter results SPEC --csv`. */
const MOST_ROWS = 15_000;

/** Returns the CSV and its number of rows. The CSV is null if it has no rows or too many. */
export function allMetricsCsv(conditions: readonly Condition[]): {
  readonly csv: string | null;
  readonly rows: number;
} {
  const metrics = conditions.flatMap(({ cells }) =>
    cells.flatMap((cell) => Object.values(cell.metrics)),
  );
  const count = metrics.reduce((sum, values) => sum + Object.keys(values).length, 0);
  if (count > MOST_ROWS || count === 0) return { csv: null, rows: count };
  const rows = conditions.flatMap(({ attackLabel, adapterLabel, setting, cells }) =>
    cells.flatMap((cell) =>
      Object.entries(cell.metrics).flatMap(([stage, values]) =>
        Object.entries(values).map(([metric, value]) => ({
          attack: attackLabel,
          adapter: adapterLabel,
          setting,
          seed: cell.seed,
          stage,
          metric,
          value,
          ...taskBeside(cell.tasks, { stage, metric }),
          ...evidenceColumns(cell, { stage, metric }),
        })),
      ),
    ),
  );
  return { csv: toCsv(rows), rows: count };
}

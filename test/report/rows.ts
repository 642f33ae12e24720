/** Rows of results that a test writes by hand, with the judgement that the program gives them. */
import { collectResults, type ResultRow } from '../../src/report/results.ts';

export type PlainRow = Omit<ResultRow, 'evidence'>;

const nameOf = (...parts: readonly unknown[]): string => JSON.stringify(parts);

/** @param planned cells without any number, by seed */
export function judged(
  rows: readonly PlainRow[],
  planned: readonly Pick<PlainRow, 'cell' | 'seed'>[] = [],
): ResultRow[] {
  type Metrics = { [stage: string]: { [metric: string]: number } };
  const cells = new Map<string, Pick<PlainRow, 'cell' | 'also' | 'seed'> & { metrics: Metrics }>();
  for (const { cell, also, seed, stage, metric, value } of rows) {
    const name = nameOf(cell, seed),
      metrics: Metrics = cells.get(name)?.metrics ?? {};
    (metrics[stage] ??= {})[metric] = value;
    cells.set(name, { cell, ...(also === undefined ? {} : { also }), seed, metrics });
  }
  const found = new Map(
    collectResults([...cells.values(), ...planned.map((one) => ({ ...one, metrics: {} }))]).map(
      (row) => [nameOf(row.cell, row.seed, row.stage, row.metric), row.evidence],
    ),
  );
  return rows.map((row) => {
    const evidence = found.get(nameOf(row.cell, row.seed, row.stage, row.metric));
    if (evidence === undefined) throw new Error(`no row of ${row.metric}`);
    return { ...row, evidence };
  });
}

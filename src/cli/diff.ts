/** `dosimeter diff A B`: what two specs say differently, and every number that both have, side by side. */
import { prepare } from '../engine/prepare.ts';
import { readMetrics } from '../execute/results.ts';
import { canonical } from '../plan/canonical.ts';
import { shortNames, tellingAxes } from '../plan/label.ts';
import type { ComparedCell } from '../report/diff.ts';
import { differenceRows, fieldDifferences, summariseDifferences } from '../report/diff.ts';
import type { SpecOptions } from './options.ts';
import { leftOut } from './result-tables.ts';
import { count, json, out, paint, paintErr, say, table } from './terminal.ts';

export async function diffCommand(
  specA: string,
  specB: string,
  options: SpecOptions,
): Promise<number> {
  const [a, b] = [await side(specA, options), await side(specB, options)];
  const rows = differenceRows(a.cells, b.cells);
  const fields = fieldDifferences(a.resolved, b.resolved);
  if (options.json) {
    json({ fields, rows });
    return 0;
  }
  const show = (value: unknown): string =>
    typeof value === 'string' ? value : value === null ? '(not set)' : canonical(value);
  const short = (value: number | null): string =>
    value === null ? '–' : String(Number(value.toPrecision(4)));
  for (const { path, a: before, b: after } of fields)
    out(`${paint.bold(path)}  ${show(before)} → ${show(after)}`);
  const summaries = summariseDifferences(rows);
  const paths = tellingAxes(summaries.map(({ cell }) => cell)),
    names = shortNames(paths);
  if (summaries.length > 0)
    out(
      table([
        [
          ...paths.map((path) => names.get(path)!),
          'stage',
          'metric',
          'A',
          'B',
          'B − A',
          '95% interval',
          'pairs',
        ],
        ...summaries.map(
          ({
            cell,
            stage,
            metric,
            a: before,
            b: after,
            difference,
            low,
            high,
            pairs,
            excluded,
          }) => [
            ...paths.map((path) => (path in cell ? show(cell[path]) : '')),
            stage,
            metric,
            short(before),
            short(after),
            short(difference),
            low === null ? '' : `${short(low)} to ${short(high)}`,
            excluded === 0 ? String(pairs) : `${pairs} (${excluded} excluded)`,
          ],
        ),
      ]),
    );
  const excluded = rows.flatMap((row) => row.excluded ?? []);
  if (excluded.length > 0)
    say(
      paintErr.yellow(
        `excluded from the differences as no evidence: ${[...new Set(excluded)].join('; ')}`,
      ),
    );
  return 0;

  async function side(
    spec: string,
    asked: SpecOptions,
  ): Promise<{ readonly cells: readonly ComparedCell[]; readonly resolved: unknown }> {
    const { plan, statuses, store, experiment } = await prepare(spec, asked, {
      fetch: false,
      note: say,
    });
    const { cells, missing, ...others } = readMetrics(plan, statuses, store);
    for (const line of leftOut(others)) say(paintErr.red(line));
    if (missing > 0)
      say(
        paintErr.yellow(
          `${spec}: ${count(missing, 'goal stage')} not run yet: dosimeter run ${spec}`,
        ),
      );
    return {
      resolved: experiment.resolved,
      // With each of a cell's names, since the other side may know it by another.
      cells: cells.map(({ seed, metrics }, i) => {
        const { cell } = plan.cellStages[i]!;
        return { seed, metrics, names: [cell, ...cell.also] };
      }),
    };
  }
}

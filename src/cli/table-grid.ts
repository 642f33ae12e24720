/** Lays results out over the axes that `results --latex` and `--markdown` were asked for. */
import { closest } from 'fastest-levenshtein';
import { UserFault } from '../api.ts';
import { shortNames, tellingAxes } from '../plan/label.ts';
import type { Against } from '../report/against.ts';
import { type Grid, layOut, type Metric } from '../report/grid.ts';
import { markdownTable } from '../report/grid.ts';
import { ACCURACY, ASR, METRICS } from '../report/metrics.ts';
import { metricName, metricsIn } from '../report/metrics.ts';
import type { Spread } from '../report/numbers.ts';
import type { Results } from '../run/facts.ts';
import { firstOf, namesOf } from './result-tables.ts';

export interface TableOptions {
  /** The axes of the rows, by name. Default: the axes that `columns` does not name. */
  readonly rows?: readonly string[];
  /** The axes of the columns, by name. */
  readonly columns?: readonly string[];
  readonly against?: Against;
  readonly spread?: Spread;
}

export interface LaidOut {
  /** The metrics that are shown. */
  readonly metrics: readonly Metric[];
  readonly grid: Grid;
  /** The paths of the axes down and across. */
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  /** The name of an axis in a table's head. */
  readonly axisName: (path: string) => string;
}

/** The axis that each section's name stands for. */
const SECTIONS: Readonly<Record<string, string>> = {
  adapter: 'adapter.type',
  defence: 'defence.defence',
  poisoning: 'poisoning.attack',
};

/** Axes that have the name of their section in a table's head. */
const HEADS = new Map(
  Object.entries(SECTIONS)
    .filter(([section]) => section !== 'poisoning')
    .map(([section, path]) => [path, section]),
);

/**
 * @param asked the metrics; null for accuracy and attack success
 * @throws UserFault if the grid has no such axis, or two cells would have the same place in the
 *   table
 */
export function laidOut(
  rows: Results['rows'],
  asked: readonly Metric[] | null,
  { against = 'none', ...options }: TableOptions,
): LaidOut {
  const metrics = asked ?? defaultMetrics(rows);
  const cells = namesOf(rows);
  const telling = tellingAxes(cells);
  const axes = [...new Set([...telling, ...cells.flatMap((cell) => Object.keys(cell))])];
  const short = shortNames(axes);
  const chosen = chosenAxes(options, telling, (name) => axisOf(name, axes, short));
  const grid = layOut({ rows, metrics, ...chosen, against });
  if ('clash' in grid)
    throw new UserFault(
      `several cells have the same place in the table: they differ in ${grid.clash.join(', ')}`,
      `add it to --rows or --columns, or choose a value: --only ${grid.clash[0] ?? 'AXIS'}=VALUE`,
    );
  return {
    ...chosen,
    metrics,
    grid,
    axisName: (path) => HEADS.get(path) ?? short.get(path) ?? path,
  };
}

/** Returns the results as a table in Markdown. @throws UserFault as `laidOut` does */
export function markdownResults(
  { rows }: Pick<Results, 'rows'>,
  asked: readonly Metric[] | null,
  options: TableOptions,
  caveats: readonly string[],
): string {
  const { against = 'none', spread = 'interval' } = options;
  return markdownTable({ ...laidOut(rows, asked, options), against, spread, caveats });
}

/**
 * Returns the axes of the rows and columns. An axis that tells cells apart and that neither option
 * names goes to the rows, or to the columns if the rows were named.
 */
function chosenAxes(
  { rows, columns }: TableOptions,
  telling: readonly string[],
  axisOfName: (name: string) => string,
): { readonly rowAxes: readonly string[]; readonly columnAxes: readonly string[] } {
  const without = (taken: readonly string[]): string[] =>
    telling.filter((path) => !taken.includes(path));
  if (rows === undefined) {
    const columnAxes = (columns ?? []).map(axisOfName);
    return { rowAxes: without(columnAxes), columnAxes };
  }
  const rowAxes = rows.map(axisOfName);
  return { rowAxes, columnAxes: columns?.map(axisOfName) ?? without(rowAxes) };
}

function defaultMetrics(rows: Results['rows']): readonly Metric[] {
  const first = firstOf(rows, [ACCURACY, ASR]);
  if (first.length > 0) return first;
  const every = metricsIn(rows);
  const known = new Set(METRICS.map(metricName));
  const noted = every.filter((one) => known.has(metricName(one)));
  return (noted.length > 0 ? noted : every).slice(0, 4);
}

function axisOf(name: string, axes: readonly string[], short: ReadonlyMap<string, string>): string {
  const found =
    [name, SECTIONS[name]].find((path) => path !== undefined && axes.includes(path)) ??
    axes.find((path) => short.get(path) === name);
  if (found === undefined)
    throw new UserFault(
      `the grid has no axis "${name}"`,
      `did you mean ${closest(name, [...axes, ...short.values()])}? Its axes: ${axes.join(', ')}`,
    );
  return found;
}

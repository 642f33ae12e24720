/** `results --latex` and `--markdown`: results over chosen axes, as a table for a paper. */
import { closest } from 'fastest-levenshtein';
import { UserFault } from '../api.ts';
import { shortNames } from '../api/cell.ts';
import { tellingAxes } from '../plan/label.ts';
import type { Against } from '../report/against.ts';
import { layOut, markdownTable } from '../report/grid.ts';
import { columnWidth, latexTable } from '../report/latex.ts';
import { distinctMetrics } from '../report/metric-lookup.ts';
import { ACCURACY, ASR, type Metric, metricName, METRICS } from '../report/metrics.ts';
import type { Spread } from '../report/numbers.ts';
import { axesByName, scorersOfRows } from '../report/results.ts';
import { factSentences } from '../report/table-facts.ts';
import { scorerSentence } from '../report/tasks.ts';
import { ownVersion } from '../run/execute/environment.ts';
import type { Results } from '../run/facts.ts';
import type { Prepared } from '../run/prepare.ts';
import { firstOf, rowsOf } from './result-tables.ts';
import { warn } from './terminal.ts';

export interface TableOptions {
  /** The axes of the rows, by name. Default: the axes that `columns` does not name. */
  readonly rows?: readonly string[];
  readonly columns?: readonly string[];
  readonly against?: Against;
  readonly spread?: Spread;
}

/** By section of a spec: the axis that `--rows` and `--columns` mean by the section's name. */
const SECTIONS: Readonly<Record<string, string>> = {
  adapter: 'adapter.type',
  defence: 'defence.defence',
  poisoning: 'poisoning.attack',
};

/** By axis: what a table's head calls it, if not by its short name. */
const HEADS: Readonly<Record<string, string>> = {
  'adapter.type': 'adapter',
  'defence.defence': 'defence',
};

/**
 * Returns the metrics that are shown, the grid, the paths of its axes of rows and columns, and a
 * function that names an axis in a table's head.
 * @param asked the metrics; null for accuracy and attack success
 * @throws UserFault if the grid has no axis of a given name, or if cells would have the same place
 */
export function laidOut(
  rows: Results['rows'],
  asked: readonly Metric[] | null,
  { against = 'none', ...options }: TableOptions,
) {
  const metrics = asked ?? defaultMetrics(rows);
  const cells = rows.flatMap(axesByName);
  const telling = tellingAxes(cells);
  const axes = [...new Set([...telling, ...cells.flatMap((cell) => Object.keys(cell))])];
  const short = shortNames(axes);
  const chosen = chosenAxes(options, telling, (name) => findAxis(name, axes, short));
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
    axisName: (path: string) => HEADS[path] ?? short.get(path) ?? path,
  };
}

/**
 * Returns the results as a table in Markdown.
 * @throws UserFault as `laidOut` does
 */
export function markdownResults(
  { rows }: Pick<Results, 'rows'>,
  asked: readonly Metric[] | null,
  options: TableOptions,
  caveats: readonly string[],
): string {
  const { against = 'none', spread = 'interval' } = options;
  const laid = laidOut(rows, asked, options),
    notes = [...scorerNotes(rows, laid.metrics), ...caveats];
  return markdownTable({ ...laid, against, spread, caveats: notes });
}

/**
 * Returns the axes of the rows and columns. An axis that tells cells apart and is in neither option
 * goes to the rows if `rows` is not given, or else to the columns if `columns` is not given.
 */
function chosenAxes(
  { rows, columns }: TableOptions,
  telling: readonly string[],
  axisOfName: (name: string) => string,
) {
  const without = (taken: readonly string[]): string[] =>
    telling.filter((path) => !taken.includes(path));
  if (rows === undefined) {
    const columnAxes = (columns ?? []).map(axisOfName);
    return { rowAxes: without(columnAxes), columnAxes };
  }
  const rowAxes = rows.map(axisOfName);
  return { rowAxes, columnAxes: columns?.map(axisOfName) ?? without(rowAxes) };
}

/**
 * Returns accuracy, attack success and the metrics by which named data sets are scored, as far as
 * the rows have them. If they have none of these, returns the first four of their metrics that are
 * in `METRICS`, or of all their metrics if none is.
 */
function defaultMetrics(rows: Results['rows']): readonly Metric[] {
  const first = firstOf(rows, [ACCURACY, ASR]);
  if (first.length > 0) return first;
  const every = distinctMetrics(rows);
  const known = new Set(METRICS.map(metricName));
  const noted = every.filter((one) => known.has(metricName(one)));
  return (noted.length > 0 ? noted : every).slice(0, 4);
}

/**
 * Returns the path of an axis, from its path, its short name or its section. Throws `UserFault` if
 * the grid has no such axis.
 */
function findAxis(
  name: string,
  axes: readonly string[],
  short: ReadonlyMap<string, string>,
): string {
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

/** How many columns of numbers fit on a page. */
const MOST_COLUMNS = 8;

/**
 * Returns the results as a LaTeX table. Warns if it is too wide for a page.
 * @throws UserFault as `laidOut` does
 */
export function latexResults(
  { experiment }: Prepared,
  { rows, missing, computedBy }: Results,
  asked: readonly Metric[] | null,
  options: TableOptions & { readonly notes?: boolean },
  caveats: readonly string[],
): string {
  const adapters = new Set(rows.flatMap(axesByName).map((cell) => cell['adapter.type']));
  const against = options.against ?? (adapters.has('full') && adapters.size > 1 ? 'full' : 'none');
  const laid = laidOut(rows, asked, { ...options, against });
  const { grid, metrics } = laid;
  const wide = grid.columns.reduce((sum, column) => sum + columnWidth(column), 0);
  if (wide > MOST_COLUMNS)
    warn(
      `the table has ${wide} columns of numbers; ` +
        '--metric, --columns, --against none and --only make it narrower',
    );
  return latexTable({
    ...laid,
    name: experiment.name,
    against,
    spread: options.spread,
    notes: options.notes === false ? 'comments' : 'below',
    ofAnswers: experiment.cells.some(({ config }) => config.head.type === 'causal-lm'),
    caveats,
    facts: [
      ...scorerNotes(rows, metrics),
      ...factSentences({
        models: experiment.cells.map(({ config }) => config.model),
        train: experiment.cells.map(({ config }) => config.data.train),
        validation: experiment.cells.map(({ config }) => config.data.validation),
        computedBy,
        missing,
      }),
    ],
    comments: [`dosimeter ${ownVersion()}, ${experiment.name}`],
  });
}

/** Returns the sentence that names the scorers of the shown metrics; [] if there are none. */
function scorerNotes(rows: Results['rows'], metrics: readonly Metric[]): readonly string[] {
  const sentence = scorerSentence(scorersOfRows(rowsOf(rows, metrics)));
  return sentence === '' ? [] : [sentence];
}

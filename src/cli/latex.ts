/** `dosimeter results SPEC --latex`: a table for a paper, over the axes that were asked for. */
import { closest } from 'fastest-levenshtein';
import { UserFault } from '../api.ts';
import type { Results } from '../engine/facts.ts';
import type { Prepared } from '../engine/prepare.ts';
import { ownVersion } from '../execute/environment.ts';
import { shortNames, tellingAxes } from '../plan/label.ts';
import { oneClassCells } from '../report/caveats.ts';
import { list } from '../report/format.ts';
import type { Against, Metric } from '../report/latex/grid.ts';
import { layOut } from '../report/latex/grid.ts';
import { latexTable, sourceText } from '../report/latex/table.ts';
import { ACCURACY, ASR, METRICS } from '../report/metrics.ts';
import { scorerSentence, scorerWords } from '../report/scorers.ts';
import { metricName, metricsIn } from '../report/select.ts';
import { caveatLines, namesOf } from './result-tables.ts';
import { count, paintErr, say } from './terminal.ts';

export interface LatexOptions {
  /** The axes of the rows, by name. Default: the axes that `columns` does not name. */
  readonly rows?: readonly string[];
  /** The axes of the columns, by name. */
  readonly columns?: readonly string[];
  /** Default: full fine-tuning, if the grid has it beside other adapters. */
  readonly against?: Against;
}

/** How many columns of numbers fit on a page. */
const MOST_COLUMNS = 8;

/** The axis that each section's name stands for. */
const SECTIONS: Readonly<Record<string, string>> = {
  adapter: 'adapter.type',
  poisoning: 'poisoning.attack',
};

/**
 * @param asked the metrics; null for accuracy and attack success
 * @throws UserFault if the grid has no such axis, or two cells would have the same place in the
 *   table
 */
export function latexResults(
  { experiment }: Prepared,
  { rows, missing, computedBy }: Results,
  asked: readonly Metric[] | null,
  options: LatexOptions,
): string {
  const metrics = asked ?? defaultMetrics(rows);
  const cells = namesOf(rows);
  const telling = tellingAxes(cells);
  const axes = [...new Set([...telling, ...cells.flatMap((cell) => Object.keys(cell))])];
  const short = shortNames(axes);
  const { rowAxes, columnAxes } = chosenAxes(options, telling, (name) => axisOf(name, axes, short));
  const adapters = new Set(cells.map((cell) => cell['adapter.type']));
  const against = options.against ?? (adapters.has('full') && adapters.size > 1 ? 'full' : 'none');
  const grid = layOut({ rows, metrics, rowAxes, columnAxes, against });
  if ('clash' in grid)
    throw new UserFault(
      `several cells have the same place in the table: they differ in ${grid.clash.join(', ')}`,
      `add it to --rows or --columns, or choose a value: --only ${grid.clash[0] ?? 'AXIS'}=VALUE`,
    );
  const wide = grid.columns.reduce((sum, { differs }) => sum + (differs ? 2 : 1), 0);
  if (wide > MOST_COLUMNS)
    say(
      paintErr.yellow(
        `the table has ${wide} columns of numbers; ` +
          '--metric, --columns, --against none and --only make it narrower',
      ),
    );
  return latexTable({
    name: experiment.name,
    grid,
    rowAxes,
    columnAxes,
    against,
    axisName: (path) => (path === 'adapter.type' ? 'adapter' : (short.get(path) ?? path)),
    oneClass: oneClassCells(rows),
    ofAnswers: experiment.cells.some(({ config }) => config.head.type === 'causal-lm'),
    caveats: caveatLines(rows),
    facts: [...scorersOf(rows, metrics), ...factsOf(experiment, computedBy, missing)],
    comments: [`dosimeter ${ownVersion()}, ${experiment.name}`],
  });
}

/**
 * Returns the axes of the rows and columns. An axis that tells cells apart and that neither option
 * names goes to the rows, or to the columns if the rows were named.
 */
function chosenAxes(
  { rows, columns }: LatexOptions,
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
  const every = metricsIn(rows);
  const first = [ACCURACY, ASR].flatMap(
    (one) => every.find((known) => metricName(known) === metricName(one)) ?? [],
  );
  if (first.length > 0) return first;
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

const distinct = (texts: readonly string[]): string[] => [...new Set(texts)];

/** Names the scorers that the shown metrics of a completion task count by, in a sentence. */
function scorersOf(rows: Results['rows'], metrics: readonly Metric[]): string[] {
  const shown = new Set(metrics.map(metricName));
  const words = rows.flatMap((row) =>
    row.scorer !== undefined && shown.has(metricName(row)) ? [scorerWords(row.scorer)] : [],
  );
  return words.length === 0 ? [] : [scorerSentence(distinct(words))];
}

function factsOf(
  { cells }: Prepared['experiment'],
  computedBy: readonly string[],
  missing: number,
): string[] {
  const split = (name: 'train' | 'validation'): string =>
    list(
      distinct(
        cells.map(({ config: { data } }) => {
          const { source, limit } = data[name];
          return `${sourceText(source)}${typeof limit === 'number' ? ` (limit ${limit})` : ''}`;
        }),
      ),
    );
  const [train, validation] = [split('train'), split('validation')];
  return [
    `Model: ${list(distinct(cells.map(({ config }) => sourceText(config.model.source))))}.`,
    train === validation
      ? `Data: ${train}.`
      : `Training data: ${train}; validation data: ${validation}.`,
    ...(computedBy.length === 0 ? [] : [`Computed by ${computedBy.join('; ')}.`]),
    ...(missing === 0
      ? []
      : [`${count(missing, 'stage')} of this experiment had no result when the table was made.`]),
  ];
}

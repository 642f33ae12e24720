/** A grid of results as a LaTeX table in the style of booktabs. Pure. */
import type { Json, JsonObject } from '../../api.ts';
import { distinct } from '../groups.ts';
import { adapterTitle } from '../labels.ts';
import { meaningOf, noteOf } from '../metrics.ts';
import { plainDifference, plainSummary } from '../numbers.ts';
import { metricName } from '../select.ts';
import { escapeLatex, latexComment, latexLabel, latexNumber } from './escape.ts';
import type { Against, Entry, Grid, GridColumn, Metric, PlaceNames } from './grid.ts';
import { excludedText, seedCounts } from './grid.ts';

export interface LatexRequest {
  readonly name: string;
  readonly grid: Grid;
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  readonly against: Against;
  /** The name of an axis in the table's head. */
  readonly axisName: (path: string) => string;
  /**
   * Returns how many of a cell's models predict one class only. If any does, the cell's evaluation
   * numbers are marked.
   */
  readonly oneClass: (cell: JsonObject) => number;
  /** Whether the task is completion, so that the metrics are of what the models write. */
  readonly ofAnswers: boolean;
  /** Sentences for the caption that qualify the numbers, unescaped. */
  readonly caveats: readonly string[];
  /** Sentences for the caption about model, data and backend, unescaped. */
  readonly facts: readonly string[];
  /** Comments above the table, unescaped. */
  readonly comments: readonly string[];
}

const DAGGER = '$^{\\dagger}$';
const EMPTY = '--';

const label = (metric: Metric): string => noteOf(metric)?.label ?? metric.metric;
const isProportion = (metric: Metric): boolean => noteOf(metric)?.kind === 'proportion';

function valueText(path: string, value: Json): string {
  if (typeof value === 'number') return latexNumber(String(value));
  if (path === 'adapter.type' && typeof value === 'string') return escapeLatex(adapterTitle(value));
  return escapeLatex(typeof value === 'string' ? value : JSON.stringify(value));
}

/**
 * Returns the values of a row or column along one axis, such as `r = $16$` if it has several names.
 */
const valuesText = (path: string, values: readonly Json[] = []): string =>
  values.map((value) => valueText(path, value)).join(' = ');

/** Whether two rows or columns have the same names along the axes up to `depth`. */
const isSameUpTo = (depth: number, a: PlaceNames, b: PlaceNames): boolean =>
  JSON.stringify(a.slice(0, depth + 1)) === JSON.stringify(b.slice(0, depth + 1));

export function latexTable(request: LatexRequest): string {
  const { grid, name, comments } = request;
  const n = commonN(grid);
  return [
    ...comments.map(latexComment),
    latexComment('needs \\usepackage{booktabs} in the preamble'),
    '\\begin{table}',
    '  \\centering',
    '  \\small',
    '  \\setlength{\\tabcolsep}{4pt}',
    '  \\setlength{\\belowcaptionskip}{6pt}',
    `  \\caption{${caption(request, n)}}`,
    `  \\label{tab:${latexLabel(name)}}`,
    `  \\begin{tabular}{@{}${columnSpec(request)}@{}}`,
    '    \\toprule',
    ...head(request),
    '    \\midrule',
    ...body(request, n),
    '    \\bottomrule',
    '  \\end{tabular}',
    '\\end{table}',
  ].join('\n');
}

/** Returns the number of seeds behind every number, or null if it differs. */
function commonN({ entries }: Grid): number | null {
  const counts = seedCounts(entries.flat().filter((entry) => entry !== null));
  const [count, ...others] = new Set(counts);
  return count === undefined || others.length > 0 ? null : count;
}

const columnSpec = ({ rowAxes, grid }: LatexRequest): string =>
  'l'.repeat(rowAxes.length) + grid.columns.map(({ differs }) => (differs ? 'rr' : 'r')).join('');

const width = ({ differs }: GridColumn): number => (differs ? 2 : 1);
const line = (cells: readonly string[]): string => `    ${cells.join(' & ')} \\\\`;

/** Neighbouring columns with the same names along the axes up to `depth`. */
interface Span {
  readonly at: PlaceNames;
  /** The width in columns of the tabular. */
  width: number;
}

function spansAt(depth: number, columns: readonly GridColumn[]): readonly Span[] {
  const spans: Span[] = [];
  for (const column of columns) {
    const last = spans.at(-1);
    if (last && isSameUpTo(depth, last.at, column.at)) last.width += width(column);
    else spans.push({ at: column.at, width: width(column) });
  }
  return spans;
}

/** Returns the line of one column axis, with a rule under each of its values. */
function axisLine(
  path: string,
  depth: number,
  { grid, rowAxes, axisName }: LatexRequest,
): readonly string[] {
  const cells: string[] = rowAxes.map(() => ''),
    rules: string[] = [];
  let column = rowAxes.length + 1;
  for (const span of spansAt(depth, grid.columns)) {
    const value = valuesText(path, span.at[depth]);
    const text = value === '' ? '' : `${escapeLatex(axisName(path))}: ${value}`;
    cells.push(`\\multicolumn{${span.width}}{c}{${text}}`);
    if (text !== '') rules.push(`\\cmidrule(lr){${column}-${column + span.width - 1}}`);
    column += span.width;
  }
  return [line(cells), ...(rules.length === 0 ? [] : [`    ${rules.join(' ')}`])];
}

/** Returns the table's head: one line for each column axis, above the metrics. */
function head(request: LatexRequest): string[] {
  const { grid, rowAxes, columnAxes, axisName, against } = request;
  const minus = `$-$ ${against}`;
  return [
    ...columnAxes.flatMap((path, depth) => axisLine(path, depth, request)),
    line([
      ...rowAxes.map((path) => escapeLatex(axisName(path))),
      ...grid.columns.flatMap(({ metric, differs }) => [
        `\\multicolumn{1}{c}{${escapeLatex(label(metric))}}`,
        ...(differs ? [`\\multicolumn{1}{c}{${minus}}`] : []),
      ]),
    ]),
  ];
}

function body({ grid, rowAxes, oneClass }: LatexRequest, n: number | null): string[] {
  return grid.rows.flatMap((row, i) => {
    const above = grid.rows[i - 1];
    // A value that is the same as in the row above, with the same outer values, is not repeated.
    const isRepeated = (depth: number): boolean =>
      above !== undefined && isSameUpTo(depth, row, above);
    const names = rowAxes.map((path, depth) =>
      isRepeated(depth) ? '' : valuesText(path, row[depth]),
    );
    const cells = grid.columns.flatMap(({ metric, differs }, k) => {
      const entry = grid.entries[i]?.[k] ?? null;
      return [
        number(entry, metric, n, oneClass),
        ...(differs ? [difference(entry, metric, n)] : []),
      ];
    });
    const startsGroup = above !== undefined && row.length > 1 && !isRepeated(0);
    return [...(startsGroup ? ['    \\addlinespace'] : []), line([...names, ...cells])];
  });
}

const ofSeeds = (count: number, n: number | null): string =>
  count === n ? '' : ` ($n = ${count}$)`;

function number(
  entry: Entry | null,
  metric: Metric,
  n: number | null,
  oneClass: LatexRequest['oneClass'],
): string {
  if (entry === null) return EMPTY;
  const { summary, cell } = entry;
  const mark = metric.stage === 'evaluate' && oneClass(cell) > 0 ? DAGGER : '';
  const text = latexNumber(plainSummary(summary, isProportion(metric)));
  return `${text}${mark}${ofSeeds(summary.n, n)}`;
}

function difference(entry: Entry | null, metric: Metric, n: number | null): string {
  if (!entry?.difference)
    return (entry?.excluded.length ?? 0) > 0 ? `${EMPTY}${ofSeeds(0, n)}` : EMPTY;
  const text = plainDifference(entry.difference, isProportion(metric));
  return `${latexNumber(text)}${ofSeeds(entry.difference.n, n)}`;
}

function caption(
  { name, grid, against, ofAnswers, caveats, facts }: LatexRequest,
  n: number | null,
): string {
  const places = grid.entries.flat().filter((entry) => entry !== null),
    entries = distinct(places);
  const several = entries.some(({ summary }) => summary.n > 1);
  const ofTwo = seedCounts(entries).includes(2);
  const seeds = n === null ? 'the seeds ($n$ beside each number)' : `$n = ${n}$ seeds`;
  const shown = [
    ...new Map(grid.columns.map(({ metric }) => [metricName(metric), metric])).values(),
  ]
    .map(noteOf)
    .filter((note) => note !== undefined);
  const isCompared = grid.columns.some(({ differs }) => differs),
    excluded = excludedText(entries);
  return [
    several
      ? `${escapeLatex(name)}: mean over ${seeds} $\\pm$ half of the mean's 95\\% Student $t$ ` +
        `interval${ofTwo ? '; of two seeds, both values' : ''}.`
      : `${escapeLatex(name)}: one seed, so that there is no interval.`,
    ...shown.map((note) => escapeLatex(`${note.label}: ${meaningOf(note, ofAnswers)}.`)),
    ...(isCompared ? [differenceText(against)] : []),
    ...(excluded === null ? [] : [escapeLatex(excluded)]),
    ...(entries.length < places.length
      ? [
          'A training that the axes name in several ways appears at each of its places, but was ' +
            'run once.',
        ]
      : []),
    ...facts.map(escapeLatex),
    ...caveats.map(escapeLatex),
  ].join(' ');
}

/** Says what the differences compare. */
const differenceText = (against: Against): string =>
  (against === 'full'
    ? "`$-$ full': difference from full fine-tuning under the same attack"
    : "`$-$ clean': difference from the paired clean run, for the success rate from what the " +
      'trigger does to its model') +
  ', paired by seed, with its own interval, uncorrected for the number of comparisons.';

/**
 * Returns a source without the file's place on this machine, which is not part of the source:
 * `file:…/rows.tsv`.
 */
export const sourceText = (source: string): string =>
  source.startsWith('file:') ? `file:…/${source.split('/').at(-1) ?? ''}` : source;

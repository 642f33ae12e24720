/** A grid of results as a LaTeX table in the style of booktabs. Pure. */
import type { Json } from '../../api.ts';
import { daggerText } from '../evidence.ts';
import { distinct } from '../groups.ts';
import { adapterTitle } from '../labels.ts';
import { meaningOf, noteOf } from '../metrics.ts';
import { plainDifference, plainSpread, type Spread, spreadNote } from '../numbers.ts';
import { metricName } from '../select.ts';
import { gridWithoutFolders } from '../sources.ts';
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
  /** What stands beside means. Default: `interval`. */
  readonly spread?: Spread;
  /** Whether the task is completion, so that the metrics are of what the models write. */
  readonly ofAnswers: boolean;
  /** Sentences that qualify the numbers, unescaped. */
  readonly caveats: readonly string[];
  /** Sentences about model, data and backend, unescaped. */
  readonly facts: readonly string[];
  /** Whether definitions, facts and caveats stand below the table, or above it as comments. */
  readonly notes: 'below' | 'comments';
  /** Comments above the table, unescaped. */
  readonly comments: readonly string[];
}

const MARK = '$^{\\dagger}$';
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

export function latexTable(asked: LatexRequest): string {
  const request = { ...asked, grid: gridWithoutFolders(asked.grid) };
  const { grid, name, comments } = request;
  const n = largestN(grid),
    notes = notesOf(request);
  return [
    ...comments.map(latexComment),
    latexComment('needs \\usepackage{booktabs} in the preamble'),
    ...(request.notes === 'comments' ? notes.map(latexComment) : []),
    '\\begin{table}',
    '  \\centering',
    '  \\small',
    '  \\setlength{\\tabcolsep}{4pt}',
    '  \\setlength{\\belowcaptionskip}{6pt}',
    `  \\caption{${caption(request)}}`,
    `  \\label{tab:${latexLabel(name)}}`,
    `  \\begin{tabular}{@{}${columnSpec(request)}@{}}`,
    '    \\toprule',
    ...head(request),
    '    \\midrule',
    ...body(request, n),
    '    \\bottomrule',
    '  \\end{tabular}',
    ...(request.notes === 'below'
      ? [
          '  \\par\\medskip',
          '  \\begin{minipage}{\\linewidth}\\footnotesize',
          ...notes.map((note) => `    ${escapeLatex(note)}`),
          '  \\end{minipage}',
        ]
      : []),
    '\\end{table}',
  ].join('\n');
}

/** Returns the largest number of seeds behind a number; 0 without a number. */
const largestN = ({ entries }: Grid): number =>
  Math.max(0, ...seedCounts(entries.flat().filter((entry) => entry !== null)));

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

function body(request: LatexRequest, n: number): string[] {
  const { grid, rowAxes } = request;
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
        number(entry, metric, n, request),
        ...(differs ? [difference(entry, metric, n)] : []),
      ];
    });
    const startsGroup = above !== undefined && row.length > 1 && !isRepeated(0);
    return [...(startsGroup ? ['    \\addlinespace'] : []), line([...names, ...cells])];
  });
}

/**
 * @param n the largest number of seeds behind a number of the table
 * @param planned how many there would be; default: no more
 */
function ofSeeds(count: number, n: number, planned = count): string {
  if (count < planned) return ` ($n = ${count}$ of $${planned}$)`;
  return count === n ? '' : ` ($n = ${count}$)`;
}

function number(
  entry: Entry | null,
  metric: Metric,
  n: number,
  { spread = 'interval' }: Pick<LatexRequest, 'spread'>,
): string {
  if (entry === null) return EMPTY;
  const { values, planned, reasons } = entry;
  const mark = reasons.length > 0 ? MARK : '';
  const text = latexNumber(plainSpread(values, spread, isProportion(metric)));
  return `${text}${mark}${ofSeeds(values.length, n, planned)}`;
}

function difference(entry: Entry | null, metric: Metric, n: number): string {
  if (!entry?.difference)
    return (entry?.excluded.length ?? 0) > 0 ? `${EMPTY}${ofSeeds(0, n)}` : EMPTY;
  const text = plainDifference(entry.difference, isProportion(metric));
  return `${latexNumber(text)}${ofSeeds(entry.difference.n, n)}`;
}

const entriesOf = ({ grid }: LatexRequest): readonly Entry[] =>
  distinct(grid.entries.flat().filter((entry) => entry !== null));

/** Says what the numbers are and which are not evidence; the rest is in the notes. */
function caption(request: LatexRequest): string {
  const { name, spread = 'interval' } = request;
  const entries = entriesOf(request);
  const dagger = daggerText(entries.flatMap(({ reasons }) => reasons));
  const counts = seedCounts(entries),
    what = spreadNote(counts, spread) ?? 'One seed: no interval.';
  return [
    `${escapeLatex(name)}.`,
    escapeLatex(what),
    ...(new Set(counts).size > 1 ? ['$n$: seeds, where it is not the largest number.'] : []),
    ...(dagger === null ? [] : [`${MARK} ${escapeLatex(dagger)}`]),
  ].join(' ');
}

/** Returns what else a reader must know, in sentences, unescaped. */
function notesOf(request: LatexRequest): readonly string[] {
  const { grid, against, ofAnswers, caveats, facts } = request;
  const entries = entriesOf(request),
    places = grid.entries.flat().filter((entry) => entry !== null);
  const shown = [
    ...new Map(grid.columns.map(({ metric }) => [metricName(metric), metric])).values(),
  ]
    .map(noteOf)
    .filter((note) => note !== undefined);
  return [
    ...shown.map((note) => `${note.label}: ${meaningOf(note, ofAnswers)}.`),
    ...(grid.columns.some(({ differs }) => differs) ? [differenceText(against)] : []),
    ...[excludedText(entries)].filter((text) => text !== null),
    ...(entries.length < places.length
      ? [
          'A training that the axes name in several ways appears at each of its places, but was ' +
            'run once.',
        ]
      : []),
    ...facts,
    ...caveats,
  ];
}

/** Says what the differences compare. */
const differenceText = (against: Against): string =>
  (against === 'full'
    ? '“− full”: difference from full fine-tuning under the same attack'
    : '“− clean”: difference from the paired clean run, for the success rate from what the ' +
      'trigger does to its model') +
  ', paired by seed, with its own interval, uncorrected for the number of comparisons.';

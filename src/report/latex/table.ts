/** A grid of results as a LaTeX table in the manner of booktabs. Pure. */
import type { Json, JsonObject } from '../../api.ts';
import { adapterTitle, distinct } from '../conditions.ts';
import { METRICS } from '../metrics.ts';
import { plainSummary } from '../numbers.ts';
import { metricName } from '../select.ts';
import { escapeLatex, latexComment, latexLabel, latexNumber } from './escape.ts';
import type { Against, Entry, Grid, Metric } from './grid.ts';

export interface LatexRequest {
  readonly name: string;
  readonly grid: Grid;
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  readonly against: Against;
  /** An axis as the table's head names it. */
  readonly axisName: (path: string) => string;
  /** How many of a cell's models predict one class only: its numbers of the evaluation are marked. */
  readonly oneClass: (cell: JsonObject) => number;
  /** What must be said of the numbers: whole sentences for the caption, unescaped. */
  readonly caveats: readonly string[];
  /** What the caption says of model, data and backend: a sentence each, unescaped. */
  readonly facts: readonly string[];
  /** Above the table as comments, unescaped. */
  readonly comments: readonly string[];
}

const NOTES = new Map(METRICS.map((note) => [metricName(note), note]));
const DAGGER = '$^{\\dagger}$';
const EMPTY = '--';

const label = (metric: Metric): string => NOTES.get(metricName(metric))?.label ?? metric.metric;
const isProportion = (metric: Metric): boolean =>
  NOTES.get(metricName(metric))?.kind === 'proportion';

function valueText(path: string, value: Json | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'number') return latexNumber(String(value));
  if (path === 'adapter.type' && typeof value === 'string') return escapeLatex(adapterTitle(value));
  return escapeLatex(typeof value === 'string' ? value : JSON.stringify(value));
}

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

/** How many seeds every number is of; null where that differs. */
function commonN({ entries }: Grid): number | null {
  const counts = new Set(
    entries
      .flat()
      .filter((entry) => entry !== null)
      .flatMap(({ summary, difference }) => [summary.n, ...(difference ? [difference.n] : [])]),
  );
  return counts.size === 1 ? [...counts][0]! : null;
}

const columnSpec = ({ rowAxes, grid }: LatexRequest): string =>
  'l'.repeat(rowAxes.length) + grid.columns.map(({ differs }) => (differs ? 'rr' : 'r')).join('');

const width = ({ differs }: Grid['columns'][number]): number => (differs ? 2 : 1);
const line = (cells: readonly string[]): string => `    ${cells.join(' & ')} \\\\`;

/** Column axes, one line each, over the metrics. */
function head({ grid, rowAxes, columnAxes, axisName, against }: LatexRequest): string[] {
  const lines: string[] = [];
  columnAxes.forEach((path, depth) => {
    const cells: string[] = [...rowAxes.map(() => '')],
      rules: string[] = [];
    let column = rowAxes.length + 1;
    for (let i = 0; i < grid.columns.length;) {
      const same = (other: Grid['columns'][number]): boolean =>
        JSON.stringify(other.at.slice(0, depth + 1)) ===
        JSON.stringify(grid.columns[i]!.at.slice(0, depth + 1));
      let span = 0,
        next = i;
      while (next < grid.columns.length && same(grid.columns[next]!))
        span += width(grid.columns[next++]!);
      const value = valueText(path, grid.columns[i]!.at[depth]);
      cells.push(
        value === ''
          ? `\\multicolumn{${span}}{c}{}`
          : `\\multicolumn{${span}}{c}{${escapeLatex(axisName(path))}: ${value}}`,
      );
      if (value !== '') rules.push(`\\cmidrule(lr){${column}-${column + span - 1}}`);
      column += span;
      i = next;
    }
    lines.push(line(cells), ...(rules.length === 0 ? [] : [`    ${rules.join(' ')}`]));
  });
  const minus = `$-$ ${against}`;
  return [
    ...lines,
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
  let before: readonly (readonly Json[])[] = [];
  return grid.rows.flatMap((row, i) => {
    // A value that is the same as above, under the same outer values, is not said again.
    const same = row.findIndex((values, k) => JSON.stringify(values) !== JSON.stringify(before[k]));
    const names = row.map((values, k) =>
      i > 0 && k < same ? '' : values.map((value) => valueText(rowAxes[k]!, value)).join(' = '),
    );
    before = row;
    const cells = grid.entries[i]!.flatMap((entry, k) => {
      const { metric, differs } = grid.columns[k]!;
      return [
        number(entry, metric, n, oneClass),
        ...(differs ? [difference(entry, metric, n)] : []),
      ];
    });
    return [
      ...(i > 0 && same === 0 && row.length > 1 ? ['    \\addlinespace'] : []),
      line([...names, ...cells]),
    ];
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
  return `${latexNumber(plainSummary(summary, isProportion(metric)))}${mark}${ofSeeds(summary.n, n)}`;
}

function difference(entry: Entry | null, metric: Metric, n: number | null): string {
  if (!entry?.difference)
    return (entry?.excluded.length ?? 0) > 0 ? `${EMPTY}${ofSeeds(0, n)}` : EMPTY;
  const text = plainSummary(entry.difference, isProportion(metric));
  const signed = entry.difference.mean > 0 && /^[^±]*[1-9]/.test(text) ? `+${text}` : text;
  return `${latexNumber(signed)}${ofSeeds(entry.difference.n, n)}`;
}

function caption({ name, grid, against, caveats, facts }: LatexRequest, n: number | null): string {
  const places = grid.entries.flat().filter((entry) => entry !== null),
    entries = distinct(places);
  const several = entries.some(({ summary }) => summary.n > 1);
  const seeds = n === null ? 'the seeds ($n$ beside each number)' : `$n = ${n}$ seeds`;
  const shown = [...new Set(grid.columns.map(({ metric }) => metricName(metric)))].flatMap(
    (metric) => NOTES.get(metric) ?? [],
  );
  const compared = grid.columns.some(({ differs }) => differs);
  return [
    several
      ? `${escapeLatex(name)}: mean over ${seeds} $\\pm$ half of the mean's 95\\% Student $t$ interval.`
      : `${escapeLatex(name)}: one seed, so that there is no interval.`,
    ...shown.map((note) => escapeLatex(`${note.label}: ${note.meaning}.`)),
    ...(compared
      ? [
          `${against === 'full' ? "`$-$ full': difference from full fine-tuning under the same attack" : "`$-$ clean': difference from the paired clean run, for the success rate from what the trigger does to its model"}, paired by seed, with its own interval, uncorrected for the number of comparisons.`,
          ...excludedText(entries),
        ]
      : []),
    ...(entries.length < places.length
      ? ['What the axes name in several ways stands at each of its places, and is one training.']
      : []),
    ...facts.map(escapeLatex),
    ...caveats.map(escapeLatex),
  ].join(' ');
}

/** Which pairs the differences leave out, and why; nothing where they leave out none. */
function excludedText(entries: readonly Entry[]): string[] {
  const excluded = entries.flatMap((entry) => entry.excluded);
  if (excluded.length === 0) return [];
  const pairs = entries.reduce(
    (sum, { difference }) => sum + (difference?.n ?? 0),
    excluded.length,
  );
  return [
    `The differences leave out ${excluded.length} of ${pairs} pairs as no evidence: a model of the pair ${distinct(excluded).join(' or ')}.`,
  ].map(escapeLatex);
}

/** `file:…/rows.tsv`: where a file lies on this machine is no part of what was asked. */
export const sourceText = (source: string): string =>
  source.startsWith('file:') ? `file:…/${source.split('/').at(-1)!}` : source;

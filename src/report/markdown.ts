/** A grid of results as a table in GitHub's Markdown. Pure. */
import type { Json } from '../api.ts';
import { DAGGER, daggerText } from './evidence.ts';
import { distinct } from './groups.ts';
import { adapterTitle } from './labels.ts';
import type { Entry, Grid, GridColumn, Metric, PlaceNames } from './latex/grid.ts';
import { excludedText, seedCounts } from './latex/grid.ts';
import { METRICS } from './metrics.ts';
import { plainDifference, plainSpread, type Spread, spreadNote } from './numbers.ts';
import { seedsNote } from './results.ts';
import { metricName } from './select.ts';
import { gridWithoutFolders } from './sources.ts';

export interface MarkdownRequest {
  readonly grid: Grid;
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  /** The name of an axis in the table's head. */
  readonly axisName: (path: string) => string;
  /** What the difference of a column is from: `full`, `clean`. */
  readonly against: string;
  /** Default: `interval`. */
  readonly spread?: Spread;
  /** Sentences that qualify the numbers: caveats and warnings. */
  readonly caveats: readonly string[];
}

const NOTES = new Map(METRICS.map((note) => [metricName(note), note]));
const EMPTY = '–';

/** Returns text that Markdown leaves as it is, in a cell of a table or in a line of its own. */
const escaped = (text: string): string =>
  text.replace(/[\\`*_{}[\]<>#|~]/g, '\\$&').replace(/\s+/g, ' ');

function valueText(path: string, value: Json): string {
  if (path === 'adapter.type' && typeof value === 'string') return adapterTitle(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Returns the values along one axis; none stands for a cell that does not have the axis. */
const valuesText = (path: string, values: readonly Json[] = []): string =>
  values.map((value) => valueText(path, value)).join(' = ');

/**
 * Returns the heading of a column: its values along the axes, where numbers and truth values have
 * the axis's name, and its metric unless all columns have the same.
 */
function columnText(
  { at, metric }: GridColumn,
  { grid, columnAxes, axisName }: MarkdownRequest,
): string {
  const named = columnAxes.flatMap((path, depth) => {
    const values = at[depth] ?? [];
    if (values.length === 0) return [];
    const value = valuesText(path, values);
    return [values.every((own) => typeof own === 'string') ? value : `${axisName(path)} ${value}`];
  });
  const several = new Set(grid.columns.map((column) => metricName(column.metric))).size > 1;
  const label = NOTES.get(metricName(metric))?.label ?? metric.metric;
  return [...named, ...(several || named.length === 0 ? [label] : [])].join(', ');
}

const rowText = (names: PlaceNames, paths: readonly string[]): string[] =>
  paths.map((path, depth) => valuesText(path, names[depth]) || EMPTY);

function number(
  entry: Entry | null,
  metric: Metric,
  { spread = 'interval' }: Pick<MarkdownRequest, 'spread'>,
): string {
  if (entry === null) return EMPTY;
  const { values, planned, reasons } = entry;
  const proportion = NOTES.get(metricName(metric))?.kind === 'proportion';
  const mark = reasons.length > 0 ? ` ${DAGGER}` : '';
  return `${plainSpread(values, spread, proportion)}${mark}${seedsNote(values.length, planned)}`;
}

/**
 * Returns a difference, with its number of seeds where it is of fewer than the number beside it.
 */
function difference(entry: Entry | null, metric: Metric): string {
  if (entry === null) return EMPTY;
  const { difference: found, excluded, summary } = entry;
  if (found === null) return excluded.length === 0 ? EMPTY : `${EMPTY} (n = 0)`;
  const proportion = NOTES.get(metricName(metric))?.kind === 'proportion';
  const fewer = found.n === summary.n ? '' : ` (n = ${found.n})`;
  return `${plainDifference(found, proportion)}${fewer}`;
}

const line = (cells: readonly string[]): string => `| ${cells.map(escaped).join(' | ')} |`;

/** Says what stands in the table's cells, as far as it is there. */
function notesText({ grid, spread = 'interval', caveats }: MarkdownRequest): readonly string[] {
  const entries = distinct(grid.entries.flat().filter((entry) => entry !== null)),
    dagger = daggerText(entries.flatMap(({ reasons }) => reasons));
  const notes = [
    spreadNote(seedCounts(entries), spread) ?? 'One seed: no interval.',
    excludedText(entries),
    dagger && `${DAGGER} ${dagger}`,
  ];
  return [notes.filter((note) => note !== null).join(' '), ...caveats.map(escaped)];
}

/**
 * Returns the table: a line for each row of the grid, a column for each of its columns. Paragraphs
 * below it say what the numbers are, and what qualifies them.
 */
export function markdownTable(asked: MarkdownRequest): string {
  const request = { ...asked, grid: gridWithoutFolders(asked.grid) };
  const { grid, rowAxes, axisName, against } = request;
  const head = grid.columns.flatMap((column) => {
    const text = columnText(column, request);
    return column.differs ? [text, `${text} − ${against}`] : [text];
  });
  const body = grid.rows.map((names, i) =>
    line([
      ...rowText(names, rowAxes),
      ...grid.columns.flatMap(({ metric, differs }, k) => {
        const entry = grid.entries[i]?.[k] ?? null;
        return [number(entry, metric, request), ...(differs ? [difference(entry, metric)] : [])];
      }),
    ]),
  );
  return [
    line([...rowAxes.map(axisName), ...head]),
    `|${'---|'.repeat(rowAxes.length)}${'---:|'.repeat(head.length)}`,
    ...body,
    ...notesText(request).flatMap((note) => ['', note]),
  ].join('\n');
}
